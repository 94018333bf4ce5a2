/**
 * A connection that can be pulled like a cable: a TCP proxy that can drop everything.
 *
 * @module
 */
import { once } from 'node:events';
import net from 'node:net';

/** A proxy in front of one `host:port`. */
export class Cable implements AsyncDisposable {
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();
  #plugged = true;

  private constructor(target: string) {
    const { hostname, port } = new URL(`tcp://${target}`);
    this.#server = net.createServer((near) => {
      if (!this.#plugged) {
        near.destroy();
        return;
      }
      const far = net.connect(Number(port), hostname);
      for (const [socket, other] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(socket);
        socket.on('error', () => {});
        socket.on('close', () => {
          this.#sockets.delete(socket);
          other.destroy();
        });
        socket.pipe(other);
      }
    });
  }

  /** Starts a proxy on a free port. */
  static async to(target: string): Promise<Cable> {
    const cable = new Cable(target);
    cable.#server.listen(0, '127.0.0.1');
    await once(cable.#server, 'listening');
    return cable;
  }

  /** `host:port` to connect to. */
  get endpoint(): string {
    return `127.0.0.1:${(this.#server.address() as net.AddressInfo).port}`;
  }

  /** Cuts every connection, and takes no new ones until {@link Cable.plugIn}. */
  pull(): void {
    this.#plugged = false;
    for (const socket of this.#sockets) socket.destroy();
  }

  plugIn(): void {
    this.#plugged = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    this.pull();
  }
}
