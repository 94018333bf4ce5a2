/**
 * The network between members that are processes, every link of which can be hurt, each way on its own.
 *
 * A member has one address for all its peers, so who calls has to be found out: by the process at the other end of the
 * connection, as Linux tells it (proc_net_tcp(5), proc_pid_fd(5)). From there on the bytes go through a fault proxy that
 * this pair has for itself. A connection whose caller is gone already is closed, and so is one to a member that does not
 * run; where there is no `/proc` all callers of a member share one link.
 *
 * All links run in this process, so nothing here may take long: Linux' table of connections takes a tenth of a second
 * to read on a busy machine, and members that miss one call it twenty times a second. It is read beside other work, and
 * once for all who wait for it.
 */
import { existsSync, readdirSync, readlinkSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import net from 'node:net';
import { FaultProxy } from '../../support/fault-proxy.ts';

const PROC = '/proc/net/tcp';

/** See the head of this file. Members are numbers from 0 on. */
export class PeerNetwork implements AsyncDisposable {
  readonly #pidOf: (member: number) => number | undefined;
  readonly #size: number;
  readonly #doors: net.Server[] = [];
  /** By caller, then by who is called. */
  readonly #links: FaultProxy[][] = [];
  readonly #sockets = new Set<net.Socket>();
  /** The table of connections, as it is being read. */
  #reading: Promise<string> | undefined;
  /** And as it will be read after that. */
  #nextReading: Promise<string> | undefined;

  private constructor(size: number, pidOf: (member: number) => number | undefined) {
    this.#size = size;
    this.#pidOf = pidOf;
  }

  /**
   * @param targets Where members really listen, `host:port`.
   * @param pidOf The process of a member, if it runs.
   */
  static async open(targets: readonly string[], pidOf: (member: number) => number | undefined): Promise<PeerNetwork> {
    const network = new PeerNetwork(targets.length, pidOf);
    for (const [to] of targets.entries()) network.#doors.push(await network.#openDoor(to));
    for (let from = 0; from < targets.length; from++)
      network.#links.push(await Promise.all(targets.map((target) => FaultProxy.start({ target }))));
    return network;
  }

  /** Where the others reach a member, `host:port`. */
  address(member: number): string {
    const door = this.#doors[member] as net.Server;
    return `127.0.0.1:${(door.address() as net.AddressInfo).port}`;
  }

  /** Nothing gets from one to the other, whoever has opened the connection. */
  silence(from: number, to: number): void {
    this.#link(from, to).blackhole('to-server');
    this.#link(to, from).blackhole('to-client');
  }

  /** Nothing gets in or out. */
  isolate(member: number): void {
    for (let other = 0; other < this.#size; other++)
      if (other !== member) {
        this.silence(member, other);
        this.silence(other, member);
      }
  }

  /** All that a member sends and gets comes later. */
  delay(member: number, ms: number): void {
    for (const link of this.#linksOf(member)) link.delay(ms);
  }

  /** Ends all connections of a member. */
  reset(member: number): void {
    for (const link of this.#linksOf(member)) link.reset();
  }

  /** Ends {@link silence}, {@link isolate} and {@link delay} everywhere. */
  heal(): void {
    for (const link of this.#links.flat()) {
      link.heal();
      link.delay(0);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const door of this.#doors) door.close();
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(this.#links.flat().map((link) => link[Symbol.asyncDispose]()));
  }

  #link(from: number, to: number): FaultProxy {
    return this.#links[from]?.[to] as FaultProxy;
  }

  #linksOf(member: number): FaultProxy[] {
    const others = Array.from({ length: this.#size }, (_, i) => i).filter((other) => other !== member);
    return others.flatMap((other) => [this.#link(member, other), this.#link(other, member)]);
  }

  #openDoor(to: number): Promise<net.Server> {
    const door = net.createServer({ noDelay: true }, (caller) => void this.#admit(caller, to));
    return new Promise((resolve, reject) => {
      door.once('error', reject);
      door.listen(0, '127.0.0.1', () => resolve(door));
    });
  }

  async #admit(caller: net.Socket, to: number): Promise<void> {
    this.#keep(caller);
    const from = this.#pidOf(to) === undefined ? undefined : await this.#callerOf(caller);
    if (from === undefined || caller.destroyed) return void caller.destroy();
    const onward = net.connect({ host: '127.0.0.1', port: this.#link(from, to).port, noDelay: true });
    this.#keep(onward);
    for (const [one, other] of [
      [caller, onward],
      [onward, caller],
    ] as const) {
      one.pipe(other);
      one.once('close', () => other.destroy());
    }
  }

  #keep(socket: net.Socket): void {
    socket.on('error', () => {});
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
  }

  async #callerOf({ remotePort, localPort }: net.Socket): Promise<number | undefined> {
    if (!existsSync(PROC)) return 0;
    const inode = inodeOf(await this.#connections(), remotePort ?? 0, localPort ?? 0);
    if (inode === undefined) return undefined;
    return Array.from({ length: this.#size }, (_, i) => i).find((i) => hasSocket(this.#pidOf(i), inode));
  }

  /** The table as it is from now on: what is being read may be past the place of a new connection. */
  #connections(): Promise<string> {
    this.#nextReading ??= (this.#reading ?? Promise.resolve()).then(() => {
      this.#nextReading = undefined;
      this.#reading = readFile(PROC, 'latin1').catch(() => '');
      return this.#reading;
    });
    return this.#nextReading;
  }
}

/** The socket that a process of this machine has at its end of a connection on 127.0.0.1. */
function inodeOf(table: string, localPort: number, remotePort: number): string | undefined {
  const hex = (port: number): string => port.toString(16).toUpperCase().padStart(4, '0');
  const at = table.indexOf(`:${hex(localPort)} 0100007F:${hex(remotePort)} `);
  return at < 0 ? undefined : table.slice(at, table.indexOf('\n', at)).split(/\s+/)[8];
}

function hasSocket(pid: number | undefined, inode: string): boolean {
  if (pid === undefined) return false;
  const folder = `/proc/${pid}/fd`;
  try {
    return readdirSync(folder).some((fd) => linkOf(`${folder}/${fd}`) === `socket:[${inode}]`);
  } catch {
    return false; // it has ended
  }
}

function linkOf(file: string): string | undefined {
  try {
    return readlinkSync(file);
  } catch {
    return undefined; // closed meanwhile
  }
}
