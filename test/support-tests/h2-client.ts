/** The least that is needed to make gRPC calls by hand, so that the harness is not proven with our own client. */
import http2 from 'node:http2';
import { setTimeout as sleep } from 'node:timers/promises';
import { frameMessage, MessageSplitter } from '../support/grpc-frames.ts';

/** A call that is open or over. */
export class RawCall {
  readonly stream: http2.ClientHttp2Stream;
  readonly messages: Buffer[] = [];
  /** From the trailers, or from the headers of a reply that has nothing else. */
  status: string | undefined;
  statusMessage: string | undefined;
  closed = false;

  constructor(session: http2.ClientHttp2Session, path: string, metadata: http2.OutgoingHttpHeaders = {}) {
    const headers = { ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' };
    this.stream = session.request({ ...headers, ...metadata }, { endStream: false });
    const splitter = new MessageSplitter();
    const note = (fields: http2.IncomingHttpHeaders): void => {
      this.status ??= fields['grpc-status'] as string | undefined;
      this.statusMessage ??= fields['grpc-message'] as string | undefined;
    };
    this.stream.on('response', note);
    this.stream.on('trailers', note);
    this.stream.on('data', (chunk: Buffer) => this.messages.push(...splitter.push(chunk)));
    this.stream.on('error', () => {});
    this.stream.once('close', () => {
      this.closed = true;
    });
  }

  send(payload: Uint8Array): this {
    this.stream.write(frameMessage(payload));
    return this;
  }

  /** Half-closes and waits for the end: how the call came out. */
  async finish(payload?: Uint8Array): Promise<string> {
    if (payload) this.send(payload);
    this.stream.end();
    return this.outcome();
  }

  /** Waits for the end: `status N` or `reset CODE`. */
  async outcome(timeoutMs = 5_000): Promise<string> {
    const deadline = performance.now() + timeoutMs;
    while (!this.closed) {
      if (performance.now() > deadline) return 'still open';
      await sleep(5);
    }
    return this.status === undefined ? `reset ${this.stream.rstCode}` : `status ${this.status}`;
  }
}

/** Protobuf: length-delimited fields, all that the requests here consist of. */
export function fields(values: Record<number, string | Uint8Array>): Buffer {
  const parts = Object.entries(values).map(([field, value]) => {
    const bytes = Buffer.from(value as string);
    if (bytes.length > 127) throw new Error('too long for a one-byte length');
    return Buffer.concat([Buffer.from([(Number(field) << 3) | 2, bytes.length]), bytes]);
  });
  return Buffer.concat(parts);
}

/** A session, closed by `await using`. */
export function connect(address: string): http2.ClientHttp2Session & AsyncDisposable {
  const session = http2.connect(`http://${address}`);
  session.on('error', () => {});
  return Object.assign(session, {
    [Symbol.asyncDispose]: async (): Promise<void> => {
      session.destroy();
    },
  });
}
