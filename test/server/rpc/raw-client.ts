/** gRPC by hand over node:http2, so that a client can be as wrong as it likes. */
import { once } from 'node:events';
import http2, { type ClientHttp2Session, type ClientHttp2Stream } from 'node:http2';
import { frameMessage, MessageSplitter } from '../../support/grpc-frames.ts';

export interface RawAnswer {
  readonly httpStatus: number | undefined;
  readonly contentType: string | undefined;
  /** From the trailers, or from headers that are all there is. */
  readonly code: number | undefined;
  readonly message: string | undefined;
  readonly trailersOnly: boolean;
  readonly messages: Buffer[];
  readonly rstCode: number | undefined;
}

export interface RawRequest {
  readonly path: string;
  readonly headers?: Record<string, string>;
  /** Data as it goes out. */
  readonly data?: readonly Uint8Array[];
  /** Default true. */
  readonly end?: boolean;
}

export async function connectRaw(url: string, options: http2.SecureClientSessionOptions = {}): Promise<RawClient> {
  const session = http2.connect(url, options);
  session.on('error', () => {});
  await once(session, 'connect');
  return new RawClient(session);
}

export class RawClient {
  readonly session: ClientHttp2Session;

  constructor(session: ClientHttp2Session) {
    this.session = session;
  }

  open({ path, headers = {}, data = [], end = true }: RawRequest): ClientHttp2Stream {
    const all = { ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers', ...headers };
    const stream = this.session.request(all, { endStream: false });
    stream.on('error', () => {});
    for (const each of data) stream.write(each);
    if (end) stream.end();
    return stream;
  }

  call(request: RawRequest): Promise<RawAnswer> {
    return answerOf(this.open(request));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.session.destroyed) return;
    const closed = once(this.session, 'close');
    this.session.destroy();
    await closed;
  }
}

export async function answerOf(stream: ClientHttp2Stream): Promise<RawAnswer> {
  const splitter = new MessageSplitter();
  const messages: Buffer[] = [];
  let headers: http2.IncomingHttpHeaders = {};
  let trailers: http2.IncomingHttpHeaders | undefined;
  stream.on('response', (received) => {
    headers = received;
  });
  stream.on('trailers', (received: http2.IncomingHttpHeaders) => {
    trailers = received;
  });
  stream.on('data', (chunk: Buffer) => {
    messages.push(...splitter.push(chunk).map((message) => message.subarray(5)));
  });
  await once(stream, 'close');
  const last = trailers ?? headers;
  return {
    httpStatus: headers[':status'] as number | undefined,
    contentType: headers['content-type'],
    code: last['grpc-status'] === undefined ? undefined : Number(last['grpc-status']),
    message: last['grpc-message'] as string | undefined,
    trailersOnly: trailers === undefined,
    messages,
    rstCode: stream.rstCode,
  };
}

/** A message with its prefix; `flag` 1 says that it is compressed. */
export function framed(payload: Uint8Array, flag = 0): Buffer {
  const frame = frameMessage(payload);
  frame[0] = flag;
  return frame;
}
