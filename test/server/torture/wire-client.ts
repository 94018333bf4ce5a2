/**
 * A client that knows of each request what became of it, and never asks twice: gRPC by hand.
 *
 * What it has an answer to was acknowledged; of all else nobody knows.
 */
import { once } from 'node:events';
import http2, { type ClientHttp2Session, type ClientHttp2Stream } from 'node:http2';
import type { Init, MethodDescriptor } from '../../../src/protocol/wire.ts';
import { frameMessage, MessageSplitter } from '../../support/grpc-frames.ts';

/** A call that came to an end without a message. */
export class WireFailure extends Error {
  override name = 'WireFailure';
  /** gRPC's code; undefined if the connection was lost. */
  readonly code: number | undefined;

  constructor(code: number | undefined, text: string) {
    super(`${code ?? 'connection lost'}: ${text}`);
    this.code = code;
  }
}

/** A stream of answers. */
export interface WireStream<I> {
  send(message: Init<I>): void;
  /** No more will be sent. */
  end(): void;
  /** Resolves when it is over, whatever ended it. */
  readonly closed: Promise<unknown>;
}

/** One connection. */
export class WireClient {
  readonly session: ClientHttp2Session;

  private constructor(session: ClientHttp2Session) {
    this.session = session;
  }

  static async open(url: string): Promise<WireClient> {
    const session = http2.connect(url);
    session.on('error', () => {});
    await once(session, 'connect');
    return new WireClient(session);
  }

  /** @throws WireFailure */
  async unary<I, O>(method: MethodDescriptor<I, O>, message: Init<I>): Promise<O> {
    const stream = this.#open(method);
    const splitter = new MessageSplitter();
    let answer: Buffer | undefined;
    let status: http2.IncomingHttpHeaders = {};
    stream.on('response', (headers) => {
      status = headers;
    });
    stream.on('trailers', (headers: http2.IncomingHttpHeaders) => {
      status = headers;
    });
    stream.on('data', (chunk: Buffer) => {
      answer ??= splitter.push(chunk)[0];
    });
    stream.end(frameMessage(method.request.encode(message)));
    if (!stream.destroyed) await once(stream, 'close').catch(() => {});
    const code = status['grpc-status'];
    if (code === '0' && answer !== undefined) return method.response.decode(answer.subarray(5));
    throw new WireFailure(code === undefined ? undefined : Number(code), String(status['grpc-message'] ?? ''));
  }

  /** Opens a stream; `onMessage` hears each answer. */
  stream<I, O>(method: MethodDescriptor<I, O>, onMessage: (message: O) => void): WireStream<I> {
    const stream = this.#open(method);
    const splitter = new MessageSplitter();
    stream.on('data', (chunk: Buffer) => {
      for (const bytes of splitter.push(chunk)) onMessage(method.response.decode(bytes.subarray(5)));
    });
    return {
      send: (message) => void stream.write(frameMessage(method.request.encode(message))),
      end: () => void stream.end(),
      closed: once(stream, 'close').catch(() => {}),
    };
  }

  close(): void {
    this.session.destroy();
  }

  #open(method: { readonly path: string }): ClientHttp2Stream {
    const headers = { ':method': 'POST', ':path': method.path, 'content-type': 'application/grpc', te: 'trailers' };
    const stream = this.#request(headers);
    stream.on('error', () => {});
    return stream;
  }
  #request(headers: http2.OutgoingHttpHeaders): ClientHttp2Stream {
    try {
      return this.session.request(headers);
    } catch (error) {
      // It went between two calls.
      throw new WireFailure(undefined, (error as Error).message);
    }
  }
}
