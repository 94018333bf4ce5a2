/** A TCP proxy in front of one etcd member that fails in whatever way a network can. */
import { EventEmitter } from 'node:events';
import net from 'node:net';
import { type Direction, type Lane, type Lanes, ProxyConnection } from './fault-proxy-connection.ts';

export type { Direction } from './fault-proxy-connection.ts';

/** Counters over the proxy's life. Bytes count as carried once they were handed to the receiver's socket. */
export interface FaultProxyStats {
  /** Connections accepted so far. */
  readonly opened: number;
  /** Connections that are open now. */
  readonly open: number;
  readonly bytesToServer: number;
  readonly bytesToClient: number;
  /** Bytes lost in black holes. */
  readonly swallowed: number;
}

/** Listens on a loopback port of its own. All settings hold for connections that are open and for later ones. */
export class FaultProxy implements AsyncDisposable {
  readonly #settings: Lanes = {
    lanes: { 'to-server': newLane(), 'to-client': newLane() },
    changes: new EventEmitter(),
  };
  readonly #connections = new Set<ProxyConnection>();
  #target: { host: string; port: number };
  #server: net.Server | undefined;
  #port = 0;
  #opened = 0;

  private constructor(target: string) {
    this.#target = parseTarget(target);
    this.#settings.changes.setMaxListeners(0);
  }

  /** Starts a proxy in front of `target` (`host:port`), which need not be up yet. */
  static async start(options: { target: string }): Promise<FaultProxy> {
    const proxy = new FaultProxy(options.target);
    await proxy.accept();
    return proxy;
  }

  get port(): number {
    return this.#port;
  }

  /** `host:port` to connect to. */
  get address(): string {
    return `127.0.0.1:${this.#port}`;
  }

  get stats(): FaultProxyStats {
    const { 'to-server': toServer, 'to-client': toClient } = this.#settings.lanes;
    return {
      opened: this.#opened,
      open: this.#connections.size,
      bytesToServer: toServer.delivered,
      bytesToClient: toClient.delivered,
      swallowed: toServer.swallowed + toClient.swallowed,
    };
  }

  /** Ends all connections in the ordinary way (FIN). New ones are accepted. */
  cut(): void {
    for (const connection of this.#connections) connection.destroy();
  }

  /** Ends all connections by a reset (RST). New ones are accepted. */
  reset(): void {
    for (const connection of this.#connections) connection.destroy(true);
  }

  /** Stops listening: new connections are refused, as by a host without the server. Open ones stay. */
  refuse(): void {
    this.#server?.close();
    this.#server = undefined;
  }

  /** Listens again on the same port. */
  async accept(): Promise<void> {
    if (this.#server) return;
    const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#admit(socket));
    this.#server = server;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.#port, '127.0.0.1', resolve);
    });
    server.on('error', () => {});
    this.#port = (server.address() as net.AddressInfo).port;
  }

  /** Sends later connections to another `host:port`. */
  retarget(target: string): void {
    this.#target = parseTarget(target);
  }

  /**
   * Swallows bytes: connections stay open, new ones are accepted, and nothing arrives, not even the end of a
   * connection. In `both` directions the server does not see new connections either.
   */
  blackhole(direction: Direction | 'both' = 'both'): void {
    this.#each(direction, (lane) => {
      lane.swallowing = true;
    });
  }

  /** Ends the black hole. A connection that lost bytes is reset, since no network delivers what comes behind a gap. */
  heal(): void {
    this.#each('both', (lane) => {
      lane.swallowing = false;
    });
    for (const connection of this.#connections) if (connection.holed) connection.destroy(true);
  }

  /** Holds bytes back without losing any until {@link FaultProxy.resume}. */
  pause(direction: Direction | 'both' = 'both'): void {
    this.#each(direction, (lane) => {
      lane.paused = true;
    });
  }

  /** Delivers what {@link FaultProxy.pause} held back, in order. */
  resume(direction: Direction | 'both' = 'both'): void {
    this.#each(direction, (lane) => {
      lane.paused = false;
    });
  }

  /** Delivers bytes this much later; throughput and order stay. 0 ends it for bytes that are yet to come. */
  delay(ms: number, direction: Direction | 'both' = 'both'): void {
    this.#each(direction, (lane) => {
      lane.delayMs = ms;
    });
  }

  /** Delivers bytes in pieces of at most this size, each a packet of its own. 0 ends it. */
  slice(bytes: number, direction: Direction | 'both' = 'both'): void {
    this.#each(direction, (lane) => {
      lane.sliceBytes = bytes;
    });
  }

  /**
   * Delivers this many more bytes of a direction, over all connections together, then ends the connection that carried
   * the last of them; once. With 0 the connection ends when the next byte comes, and that byte is not delivered.
   * Resolves when it has happened; need not be awaited. With `reset` the receiver may lose bytes it has not read yet.
   */
  cutAfter(bytes: number, direction: Direction, options: { reset?: boolean } = {}): Promise<void> {
    return new Promise((done) => {
      this.#settings.lanes[direction].cutoff = { remaining: bytes, reset: options.reset ?? false, done };
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.refuse();
    const closed = [...this.#connections].map((connection) => connection.closed);
    for (const connection of this.#connections) connection.destroy();
    await Promise.all(closed);
  }

  #admit(socket: net.Socket): void {
    this.#opened++;
    const connection = new ProxyConnection(socket, this.#target, this.#settings);
    this.#connections.add(connection);
    void connection.closed.then(() => this.#connections.delete(connection));
  }

  #each(direction: Direction | 'both', change: (lane: Lane) => void): void {
    if (direction !== 'to-client') change(this.#settings.lanes['to-server']);
    if (direction !== 'to-server') change(this.#settings.lanes['to-client']);
    this.#settings.changes.emit('change');
  }
}

function newLane(): Lane {
  return {
    paused: false,
    swallowing: false,
    delayMs: 0,
    sliceBytes: 0,
    cutoff: undefined,
    delivered: 0,
    swallowed: 0,
  };
}

function parseTarget(target: string): { host: string; port: number } {
  const { hostname, port } = new URL(`tcp://${target}`);
  if (!port) throw new Error(`"${target}" is not host:port`);
  return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) };
}
