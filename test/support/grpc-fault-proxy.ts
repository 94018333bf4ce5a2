/**
 * An HTTP/2 proxy (without TLS) in front of one etcd member that knows gRPC calls: it can break the n-th call of a
 * method in a given way, and records what clients call. Each connection of a client has one of its own to etcd.
 */
import { EventEmitter } from 'node:events';
import http2 from 'node:http2';
import type net from 'node:net';
import { FaultCall } from './grpc-fault-call.ts';
import { ActiveRule, type CallRecord, type FaultRule, type MessageGate, waitUntil } from './grpc-fault-rules.ts';

export type {
  ActiveRule,
  Break,
  CallRecord,
  ClientMessage,
  FaultAction,
  FaultRule,
  GrpcStatus,
  MessageGate,
  Verdict,
} from './grpc-fault-rules.ts';

const WAIT_TIMEOUT_MS = 10_000;

interface Connection {
  readonly number: number;
  readonly socket: net.Socket;
  readonly upstream: http2.ClientHttp2Session;
}

/** Listens on a loopback port of its own. */
export class GrpcFaultProxy implements AsyncDisposable {
  /** Every call so far, in the order of their arrival. */
  readonly calls: CallRecord[] = [];
  /** Whether records of calls from now on keep what is asked for ({@link CallRecord.request}). Default false. */
  keepsRequests = false;
  readonly #server = http2.createServer();
  readonly #connections = new Set<Connection>();
  readonly #changes = new EventEmitter();
  readonly #target: string;
  readonly #gate: MessageGate | undefined;
  #rules: ActiveRule[] = [];
  #opened = 0;

  private constructor(target: string, gate: MessageGate | undefined) {
    this.#target = target;
    this.#gate = gate;
    this.#changes.setMaxListeners(0);
    this.#server.on('error', () => {});
    this.#server.on('sessionError', () => {});
    // The session hides its socket; this listener runs right before the one that makes the session out of it.
    let accepted: net.Socket | undefined;
    this.#server.prependListener('connection', (socket: net.Socket) => {
      accepted = socket;
    });
    this.#server.on('session', (session) => {
      if (accepted) this.#admit(session, accepted);
    });
  }

  /** Starts a proxy in front of `target` (`host:port`). What no rule breaks off at once goes through `gate`, if any. */
  static async start(options: { target: string; gate?: MessageGate | undefined }): Promise<GrpcFaultProxy> {
    const proxy = new GrpcFaultProxy(options.target, options.gate);
    await new Promise<void>((resolve, reject) => {
      proxy.#server.once('error', reject);
      proxy.#server.listen(0, '127.0.0.1', resolve);
    });
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as net.AddressInfo).port;
  }

  /** `host:port` to connect to. */
  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** Connections accepted so far, and those that are open now. */
  get connections(): { readonly opened: number; readonly open: number } {
    return { opened: this.#opened, open: this.#connections.size };
  }

  /** Puts a rule in force. When several are meant for a call, the oldest decides; all of them count it. */
  rule(rule: FaultRule): ActiveRule {
    const active = new ActiveRule(rule, (gone) => {
      this.#rules = this.#rules.filter((other) => other !== gone);
    });
    this.#rules.push(active);
    return active;
  }

  /** Removes all rules. */
  clearRules(): void {
    this.#rules = [];
  }

  /** How many calls of `path` there were. */
  count(path: string): number {
    return this.calls.filter((call) => call.path === path).length;
  }

  /** The calls of `path`, in the order of their arrival. */
  callsOf(path: string): CallRecord[] {
    return this.calls.filter((call) => call.path === path);
  }

  /** Waits until `condition` holds; it is looked at whenever a record changes. */
  waitFor(condition: (calls: readonly CallRecord[]) => boolean, timeoutMs = WAIT_TIMEOUT_MS): Promise<void> {
    const describe = (): string => {
      const lines = this.calls.map((call) => `${call.path} ${call.requestMessages}>${call.responseMessages}`);
      return `still not the case; calls (messages there>back): ${lines.join(', ') || 'none'}`;
    };
    return waitUntil(this.#changes, () => condition(this.calls), timeoutMs, describe);
  }

  /** Breaks all connections of clients. New ones are accepted. */
  cut(): void {
    for (const { socket, upstream } of this.#connections) {
      socket.destroy();
      upstream.destroy();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#server.listening) return;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.cut();
    await closed;
  }

  #admit(session: http2.ServerHttp2Session, socket: net.Socket): void {
    const upstream = http2.connect(`http://${this.#target}`);
    const connection: Connection = { number: ++this.#opened, socket, upstream };
    this.#connections.add(connection);
    session.on('error', () => {});
    socket.on('error', () => {});
    upstream.on('error', () => {});
    session.once('close', () => {
      this.#connections.delete(connection);
      upstream.destroy();
      this.#changes.emit('change');
    });
    // A member that dies or shuts down takes the client's connection with it, as it would without us.
    upstream.once('close', () => socket.destroy());
    upstream.once('goaway', () => session.close());
    session.on('stream', (stream, headers) => this.#take(connection, stream, headers));
  }

  #take(connection: Connection, stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders): void {
    const path = headers[':path'] ?? '';
    const record: CallRecord = {
      path,
      order: this.calls.length,
      nth: this.count(path) + 1,
      connection: connection.number,
      requestMetadata: headers,
      requestMessages: 0,
      request: undefined,
      responseMessages: 0,
      status: undefined,
      ended: false,
      fault: undefined,
    };
    this.calls.push(record);
    const [deciding] = this.#rules.filter((rule) => rule.counts(path));
    deciding?.apply();
    const changed = (): void => {
      this.#changes.emit('change');
    };
    const cut = (): void => {
      connection.socket.destroy();
    };
    const call = new FaultCall(stream, headers, {
      record,
      rule: deciding?.rule,
      gate: this.#gate,
      keepsRequest: this.keepsRequests,
      upstream: connection.upstream,
      cut,
      changed,
    });
    call.start();
    changed();
  }
}
