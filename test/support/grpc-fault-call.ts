/**
 * One call through the gRPC fault proxy.
 *
 * The client's stream and etcd's stream are joined: messages, half-close, trailers and back-pressure one way and the
 * other, and the end of either ends the other. A fault takes the client's side away and leaves etcd's to finish,
 * unless the fault says otherwise.
 */
import http2 from 'node:http2';
import type { Break, CallRecord, FaultRule, GrpcStatus, MessageGate } from './grpc-fault-rules.ts';
import { encodeGrpcMessage, GRPC_HEADER_BYTES, MessageSplitter } from './grpc-frames.ts';

const { NGHTTP2_CANCEL, NGHTTP2_INTERNAL_ERROR, NGHTTP2_NO_ERROR, NGHTTP2_REFUSED_STREAM } = http2.constants;

/** What a call needs from its proxy. */
export interface CallContext {
  readonly record: CallRecord;
  readonly rule: FaultRule | undefined;
  readonly gate: MessageGate | undefined;
  /** Whether the record is to have the first message. */
  readonly keepsRequest: boolean;
  readonly upstream: http2.ClientHttp2Session;
  /** Breaks the client's connection. */
  readonly cut: () => void;
  /** Tells those who wait on records. */
  readonly changed: () => void;
}

/** Runs one call from its request headers to its end. */
export class FaultCall {
  readonly #client: http2.ServerHttp2Stream;
  readonly #headers: http2.IncomingHttpHeaders;
  readonly #context: CallContext;
  #trailers: http2.IncomingHttpHeaders | undefined;
  /** Set once the client gets nothing more of etcd's reply. */
  #detached = false;
  /** Set once the gate has said so: the next reply is kept from the client. */
  #swallows = false;

  constructor(client: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders, context: CallContext) {
    this.#client = client;
    this.#headers = headers;
    this.#context = context;
    client.on('error', () => {});
    client.on('aborted', () => {});
    client.once('close', () => {
      context.record.ended = true;
      context.changed();
    });
  }

  start(): void {
    const action = this.#context.rule?.action;
    this.#context.record.fault = action;
    if (action === 'reset-before') {
      this.#client.close(NGHTTP2_REFUSED_STREAM);
    } else if (action === 'hang') {
      // Read on: an unread request would stop the whole connection by flow control sooner or later.
      this.#client.resume();
    } else if (typeof action === 'object' && 'status' in action && !action.forward) {
      this.#client.resume();
      this.#finish(action.status);
    } else if (typeof action === 'object' && 'delayMs' in action) {
      const timer = setTimeout(() => this.#forward(), action.delayMs);
      this.#client.once('close', () => clearTimeout(timer));
    } else {
      this.#forward();
    }
  }

  #forward(): void {
    const { upstream, rule } = this.#context;
    if (upstream.destroyed || upstream.closed) {
      this.#context.cut();
      return;
    }
    const server = upstream.request(this.#headers, { endStream: false });
    server.on('error', () => {});
    this.#sendRequest(server);
    this.#receiveReply(server);
    this.#client.once('close', () => {
      if (!server.closed && !this.#detached) closeSoon(server, this.#client.rstCode || NGHTTP2_CANCEL);
    });
    const action = rule?.action;
    if (typeof action === 'object' && 'afterMessages' in action && action.afterMessages === 0) this.#applyCount(server);
  }

  #sendRequest(server: http2.ClientHttp2Stream): void {
    const { record, rule, changed, gate, keepsRequest } = this.#context;
    const splitter = new MessageSplitter();
    let passed = Promise.resolve();
    this.#client.on('data', (chunk: Buffer) => {
      for (const message of splitter.push(chunk)) {
        const nth = ++record.requestMessages;
        // A copy: the message is a part of whatever came with it.
        if (keepsRequest && nth === 1) record.request = Buffer.from(message.subarray(GRPC_HEADER_BYTES));
        if (gate !== undefined) passed = passed.then(() => this.#pass(gate, message, nth, server));
      }
      changed();
      if (gate === undefined) this.#send(server, chunk);
    });
    this.#client.once('end', () => {
      if (gate === undefined) this.#endRequest(server, rule);
      else void passed.then(() => this.#endRequest(server, rule));
    });
  }

  #send(server: http2.ClientHttp2Stream, bytes: Buffer): void {
    if (server.destroyed || server.writableEnded) return;
    if (!server.write(bytes)) {
      this.#client.pause();
      server.once('drain', () => this.#client.resume());
    }
  }

  #endRequest(server: http2.ClientHttp2Stream, rule: FaultRule | undefined): void {
    // 'end' comes for a reset stream too, and then it is no half-close.
    if (this.#client.aborted || this.#client.rstCode || server.destroyed) return;
    server.end(() => {
      if (rule?.action === 'reset-after') this.#break('reset');
    });
  }

  async #pass(gate: MessageGate, message: Buffer, nth: number, server: http2.ClientHttp2Stream): Promise<void> {
    const payload = message.subarray(GRPC_HEADER_BYTES);
    const verdict = await gate({ call: this.#context.record, nth, payload });
    if (verdict === 'cut') {
      // First, or the half-close that is queued behind this message would reach etcd.
      server.close(NGHTTP2_CANCEL);
      this.#context.cut();
      return;
    }
    this.#swallows ||= verdict === 'swallow';
    this.#send(server, message);
  }

  #receiveReply(server: http2.ClientHttp2Stream): void {
    const splitter = new MessageSplitter();
    server.on('response', (headers, flags) => this.#onHeaders(server, headers, flags));
    server.on('trailers', (headers) => {
      this.#trailers = headers;
    });
    server.on('data', (chunk: Buffer) => {
      for (const message of splitter.push(chunk)) this.#onMessage(server, message);
    });
    server.once('end', () => this.#onEnd());
    server.once('close', () => {
      if (this.#detached || this.#client.closed) return;
      // Without trailers the call did not end properly, and the client gets the same impression as we have.
      if (server.rstCode !== NGHTTP2_NO_ERROR || !this.#trailers) {
        closeSoon(this.#client, server.rstCode || NGHTTP2_CANCEL);
      }
    });
  }

  #onHeaders(server: http2.ClientHttp2Stream, headers: http2.IncomingHttpHeaders, flags: number): void {
    const trailersOnly = (flags & http2.constants.NGHTTP2_FLAG_END_STREAM) !== 0;
    if (trailersOnly) this.#trailers = headers;
    if (this.#dropsReply()) return;
    if (this.#detached || this.#client.headersSent || this.#client.destroyed) return;
    if (trailersOnly) {
      this.#recordStatus(headers);
      this.#client.respond(withoutPseudo(headers), { endStream: true });
      this.#closeAfterStatus();
      return;
    }
    this.#client.respond(withoutPseudo(headers), { waitForTrailers: true });
    this.#client.once('wantTrailers', () => this.#sendTrailers());
    this.#client.on('drain', () => server.resume());
  }

  #onMessage(server: http2.ClientHttp2Stream, message: Buffer): void {
    if (this.#swallows) return this.#breakStream(server);
    if (this.#dropsReply() || this.#detached || this.#client.destroyed || this.#client.writableEnded) return;
    this.#context.record.responseMessages++;
    this.#context.changed();
    if (!this.#client.write(message)) server.pause();
    this.#applyCount(server);
  }

  #onEnd(): void {
    const { rule } = this.#context;
    if (this.#detached || this.#client.destroyed) return;
    const action = rule?.action;
    if (this.#swallows) this.#break('reset');
    else if (action === 'swallow-reply') this.#break(rule?.via ?? 'reset');
    else if (typeof action === 'object' && 'status' in action) this.#finish(action.status);
    // Ended without trailers means broken off; 'close' deals with it.
    else if (this.#trailers && !this.#client.writableEnded) this.#client.end();
  }

  /** Whether the rule keeps etcd's reply from the client, to whom its end is then told by {@link FaultCall.#onEnd}. */
  #dropsReply(): boolean {
    if (this.#swallows) return true;
    const action = this.#context.rule?.action;
    return action === 'swallow-reply' || action === 'reset-after' || (typeof action === 'object' && 'status' in action);
  }

  /** Ends the call when the client has got as many messages as the rule lets through. */
  #applyCount(server: http2.ClientHttp2Stream): void {
    const { rule, record } = this.#context;
    const action = rule?.action;
    if (typeof action !== 'object' || !('afterMessages' in action)) return;
    if (record.responseMessages < action.afterMessages) return;
    this.#detached = true;
    if (action.ending === 'end-ok') this.#finish({ code: 0, message: '' });
    else if (typeof action.ending === 'object') this.#finish(action.ending.status);
    // In the next turn, so that the last message has left for the client.
    else setImmediate((how: Break) => this.#break(how), action.ending);
    // A stream has no end of its own that would be worth waiting for.
    server.close(NGHTTP2_CANCEL);
  }

  /** Keeps a reply from the client: it was the last for a unary call, and one of many for a stream. */
  #breakStream(server: http2.ClientHttp2Stream): void {
    this.#break('reset');
    server.close(NGHTTP2_CANCEL);
  }

  #break(how: Break): void {
    this.#detached = true;
    if (how === 'reset') this.#client.close(this.#context.rule?.resetCode ?? NGHTTP2_INTERNAL_ERROR);
    else if (how === 'cut') this.#context.cut();
    else this.#client.resume();
  }

  /** Ends the call at the client with a status of ours, after whatever it was sent before. */
  #finish(status: GrpcStatus): void {
    this.#detached = true;
    const fields = { 'grpc-status': String(status.code), 'grpc-message': encodeGrpcMessage(status.message) };
    this.#trailers = fields;
    if (this.#client.destroyed || this.#client.writableEnded) return;
    if (this.#client.headersSent) {
      this.#client.end();
    } else {
      this.#recordStatus(fields);
      this.#client.respond({ ':status': 200, 'content-type': 'application/grpc', ...fields }, { endStream: true });
      this.#closeAfterStatus();
    }
  }

  /** A status ends the call even when the client has more to send; etcd tells it so in the same way. */
  #closeAfterStatus(): void {
    if (this.#client.readableEnded) return;
    // A reset overtakes what the session has not written yet, and that would be the status.
    setImmediate(() => setImmediate(() => this.#client.close(NGHTTP2_NO_ERROR)));
  }

  #sendTrailers(): void {
    if (!this.#trailers || this.#client.destroyed) {
      this.#client.close(NGHTTP2_INTERNAL_ERROR);
      return;
    }
    this.#recordStatus(this.#trailers);
    this.#client.sendTrailers(withoutPseudo(this.#trailers));
    this.#closeAfterStatus();
  }

  #recordStatus(headers: http2.IncomingHttpHeaders): void {
    this.#context.record.status = Number(headers['grpc-status']);
    this.#context.changed();
  }
}

/**
 * Resets a stream when what was written to it in this turn has left. Node 20 does not come back from a reset that meets
 * such a write: it packs empty frames until the memory is full.
 */
function closeSoon(stream: http2.Http2Stream, code: number): void {
  setImmediate(() => stream.close(code));
}

function withoutPseudo(headers: http2.IncomingHttpHeaders): http2.OutgoingHttpHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !name.startsWith(':') || name === ':status'));
}
