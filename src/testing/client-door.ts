/**
 * Where clients reach a member of a test's cluster: a port that stays the same while the member comes and goes, and that
 * behaves as badly as a test wants.
 *
 * - `open`: connections go through to the member, if it is there; if not, they are reset as soon as they are made.
 * - `refusing`: none is let in, and those that are there are reset.
 * - `still`: connections are made, and nothing moves in either direction, as behind a firewall that drops packets, or
 *   while the member's process is stopped. What was on its way arrives when the door opens again.
 *
 * Bytes are passed on as they are, TLS or not. Nothing here keeps the process alive.
 *
 * @module
 */
import { once } from 'node:events';
import net, { type AddressInfo, type Socket } from 'node:net';
import type { Activity } from './virtual-clock.ts';

/** How a door behaves. */
export type DoorState = 'open' | 'refusing' | 'still';

interface Pair {
  readonly client: Socket;
  readonly member: Socket;
}

/** See the head of this file. */
export class ClientDoor implements Activity {
  /** Where it listens: `127.0.0.1:40123`. */
  readonly address: string;
  /** How often bytes have come, or a connection. */
  count = 0;
  readonly busy = false;
  readonly #server: net.Server;
  readonly #pairs = new Set<Pair>();
  /** Connections that wait for a door that is still. */
  readonly #waiting = new Set<Socket>();
  #target: number | undefined;
  #state: DoorState = 'open';
  /** The member's process stands still, whatever the door does. */
  #halted = false;

  private constructor(server: net.Server) {
    this.#server = server;
    const { address, port } = server.address() as AddressInfo;
    this.address = `${address}:${port}`;
    server.on('connection', (client) => this.#accept(client));
    // Without a listener an error while accepting would end the process.
    server.on('error', () => {});
    server.unref();
  }

  /** Opens one on any free port of 127.0.0.1. */
  static async open(): Promise<ClientDoor> {
    const server = net.createServer({ allowHalfOpen: true, noDelay: true });
    server.listen({ host: '127.0.0.1', port: 0 });
    await once(server, 'listening');
    return new ClientDoor(server);
  }

  get state(): DoorState {
    return this.#state;
  }

  set state(state: DoorState) {
    this.#state = state;
    if (state === 'refusing') this.#resetAll();
    this.#flow();
  }

  /** The member is there, at this port. */
  lead(port: number): void {
    this.#target = port;
    this.#halted = false;
    this.#flow();
  }

  /** The member is gone: all connections are reset. */
  leave(): void {
    this.#target = undefined;
    this.#halted = false;
    this.#resetAll();
  }

  /** The member's process stands still, or goes on. */
  set halted(halted: boolean) {
    this.#halted = halted;
    this.#flow();
  }

  /** Resets all connections; new ones are let in. */
  drop(): void {
    this.#resetAll();
  }

  async close(): Promise<void> {
    this.leave();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  get #still(): boolean {
    return this.#halted || this.#state === 'still';
  }

  #accept(client: Socket): void {
    this.count += 1;
    // Whatever becomes of it, `close` says so.
    client.on('error', () => {});
    client.unref();
    if (this.#state === 'refusing' || this.#target === undefined) client.resetAndDestroy();
    else if (this.#still) {
      this.#waiting.add(client);
      client.once('close', () => this.#waiting.delete(client));
    } else this.#join(client, this.#target);
  }

  #join(client: Socket, port: number): void {
    const member = net.connect({ host: '127.0.0.1', port, noDelay: true, allowHalfOpen: true });
    const pair = { client, member };
    this.#pairs.add(pair);
    const end = (): void => {
      this.#pairs.delete(pair);
      client.destroy();
      member.destroy();
    };
    member.on('error', () => {});
    member.unref();
    for (const [from, to] of [
      [client, member],
      [member, client],
    ] as const) {
      from.on('data', (bytes: Buffer) => {
        this.count += 1;
        if (!to.write(bytes)) from.pause();
      });
      to.on('drain', () => this.#still || from.resume());
      from.on('end', () => to.end());
      from.once('close', end);
    }
  }

  /** Lets bytes move or not, as things are now. */
  #flow(): void {
    for (const { client, member } of this.#pairs) {
      for (const [from, to] of [
        [client, member],
        [member, client],
      ] as const) {
        if (this.#still) from.pause();
        else if (!to.writableNeedDrain) from.resume();
      }
    }
    if (this.#still) return;
    for (const client of this.#waiting) {
      this.#waiting.delete(client);
      if (this.#target === undefined) client.resetAndDestroy();
      else this.#join(client, this.#target);
    }
  }

  #resetAll(): void {
    for (const client of this.#waiting) client.resetAndDestroy();
    for (const { client, member } of this.#pairs) {
      client.resetAndDestroy();
      member.destroy();
    }
  }
}
