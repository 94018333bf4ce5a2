/**
 * A member that is not one: it notes what the transport tells it, and answers as a follower would if asked to.
 *
 * `PeerSeat` puts a transport around it, on a loopback port of its own.
 */
import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { MemberId } from '../../../src/protocol/int64.ts';
import type { Members } from '../../../src/server/apply/state.ts';
import type { LogFields, ServerLog } from '../../../src/server/log.ts';
import type { LeaseTimes, PeerHash, PeerHost } from '../../../src/server/member/peers.ts';
import type { TransportObserver } from '../../../src/server/peer/options.ts';
import { PeerTransport } from '../../../src/server/peer/transport.ts';
import { type Message, message } from '../../../src/server/raft/types.ts';
import type { BackendMember } from '../../../src/server/snapshot/backend-state.ts';
import { type Clock, systemClock } from '../../../src/support/clock.ts';

export class FakeMembers implements Members {
  readonly all = new Map<bigint, BackendMember>();
  readonly removed = new Set<bigint>();
  readonly clusterVersion = '3.5.0';
  readonly downgradeTarget = undefined;

  list(): readonly BackendMember[] {
    return [...this.all.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  get(id: bigint): BackendMember | undefined {
    return this.all.get(id);
  }

  wasRemoved(id: bigint): boolean {
    return this.removed.has(id);
  }

  put(id: bigint, ...peerUrls: readonly string[]): void {
    this.all.set(id, { id, name: `m${id}`, peerUrls, clientUrls: [], isLearner: false });
  }

  remove(id: bigint): void {
    this.all.delete(id);
    this.removed.add(id);
  }
}

export class FakeHost implements PeerHost {
  readonly id: bigint;
  readonly clusterId: bigint;
  version = '3.5.30';
  readonly members = new FakeMembers();
  readonly leader = 0n;
  readonly received: Message[] = [];
  readonly lost: bigint[] = [];
  readonly images: { message: Message; bytes: Buffer }[] = [];
  removals = 0;
  /** Hears each message. */
  heard: (message: Message) => void = () => {};
  /** Takes an image; may be replaced. */
  takeImage = async (chunks: AsyncIterable<Uint8Array>): Promise<Buffer> => {
    const parts: Uint8Array[] = [];
    for await (const chunk of chunks) parts.push(chunk);
    return Buffer.concat(parts);
  };
  readonly #clock: Clock;

  constructor(id: bigint, clusterId: bigint, clock: Clock = systemClock) {
    this.id = id;
    this.clusterId = clusterId;
    this.#clock = clock;
  }

  now(): number {
    return this.#clock.now();
  }

  receive(one: Message): void {
    this.received.push(one);
    this.heard(one);
  }

  async receiveSnapshot(one: Message, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    this.images.push({ message: one, bytes: await this.takeImage(chunks) });
  }

  unreachable(id: bigint): void {
    this.lost.push(id);
  }

  removed(): void {
    this.removals++;
  }

  renewLeaseHere = (): Promise<number> => Promise.reject(new Error('not asked here'));
  timeToLiveHere = (): Promise<LeaseTimes> => Promise.reject(new Error('not asked here'));
  promoteHere = (): Promise<readonly BackendMember[]> => Promise.reject(new Error('not asked here'));
  hashKv = (): PeerHash => {
    throw new Error('not asked here');
  };
}

/** What was logged. */
export class Lines implements ServerLog {
  readonly all: { level: string; text: string; fields: LogFields }[] = [];

  write(level: string, _caller: string, text: string, fields: LogFields = {}): void {
    this.all.push({ level, text, fields });
  }

  count(text: string, error?: string): number {
    return this.all.filter((line) => line.text === text && (error === undefined || line.fields.error === error)).length;
  }
}

/** Of both sides: each shows it and asks for it. */
export interface SeatTls {
  readonly ca: Buffer;
  readonly cert: Buffer;
  readonly key: Buffer;
}

export interface SeatOptions {
  readonly tls?: SeatTls;
  readonly clock?: Clock;
  readonly timeOfDayMs?: () => number;
  readonly observe?: TransportObserver;
}

/** A fake host, its transport, and the port on which it listens. */
export class PeerSeat implements AsyncDisposable {
  readonly host: FakeHost;
  readonly transport: PeerTransport;
  readonly log = new Lines();
  readonly url: string;
  /** Connections that came in. */
  readonly sockets = new Set<Socket>();
  /** Paths that were asked for. */
  readonly asked: string[] = [];
  readonly #server: http.Server | https.Server;

  private constructor(host: FakeHost, server: http.Server | https.Server, options: SeatOptions) {
    this.host = host;
    this.#server = server;
    this.url = `${options.tls ? 'https' : 'http'}://127.0.0.1:${(server.address() as AddressInfo).port}`;
    this.transport = new PeerTransport(host, {
      clock: options.clock ?? systemClock,
      timeOfDayMs: options.timeOfDayMs ?? (() => Date.now()),
      log: this.log,
      questionTimeoutMs: 5_000,
      observe: options.observe,
      tls: options.tls && (() => options.tls ?? {}),
    });
    server.on('connection', (socket: Socket) => {
      this.sockets.add(socket);
      socket.once('close', () => this.sockets.delete(socket));
    });
    server.on('request', (request, response) => {
      this.asked.push(request.url ?? '');
      if (!this.transport.handle(request, response)) response.writeHead(404).end();
    });
    host.members.put(host.id, this.url);
  }

  /** Listens; nothing is connected yet. `port`: one that was this seat's before. */
  static async open(host: FakeHost, options: SeatOptions = {}, port = 0): Promise<PeerSeat> {
    const { tls } = options;
    const server = tls
      ? https.createServer({ ...tls, requestCert: true, rejectUnauthorized: true })
      : http.createServer();
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    return new PeerSeat(host, server, options);
  }

  get port(): number {
    return Number(new URL(this.url).port);
  }

  /** Cuts all connections that came in. */
  cut(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.transport.close();
    this.#server.close();
    this.cut();
  }
}

/** Two or more seats of one cluster who know each other, and are connected if nothing else is said. */
export async function seats(count: number, options: SeatOptions = {}, start = true): Promise<PeerSeat[]> {
  const all = await Promise.all(
    Array.from({ length: count }, (_, i) => PeerSeat.open(new FakeHost(BigInt(i + 1), 0xabcn, options.clock), options)),
  );
  for (const { host } of all) for (const other of all) host.members.put(other.host.id, other.url);
  if (start) for (const { transport } of all) transport.start();
  return all;
}

/** A follower's answer; what a leader needs to go on. */
export function followerAnswer(one: Message): Message | undefined {
  const ends = { to: one.from, from: one.to, term: one.term };
  const last = one.index + one.entries.length;
  switch (one.type) {
    case 'MsgApp':
      return message('MsgAppResp', { ...ends, index: last });
    case 'MsgHeartbeat':
      return message('MsgHeartbeatResp', { ...ends, context: one.context });
    case 'MsgSnap':
      return message('MsgAppResp', { ...ends, index: one.snapshot?.index ?? 0 });
    default:
      return undefined;
  }
}

/** Messages with a number, to tell them apart. */
export function numbered(
  from: PeerSeat,
  to: PeerSeat,
  count: number,
  type: Message['type'] = 'MsgHeartbeat',
): Message[] {
  const ends = { from: member(from.host.id), to: member(to.host.id), term: 1 };
  return Array.from({ length: count }, (_, i) => message(type, { ...ends, commit: i }));
}

/** Waits until all four streams between two are there. */
export async function connected(...all: readonly PeerSeat[]): Promise<void> {
  const here = ({ asked, host }: PeerSeat): boolean =>
    all.every(
      (other) =>
        other.host === host ||
        (['msgapp', 'message'] as const).every((kind) =>
          asked.includes(`/raft/stream/${kind}/${other.host.id.toString(16)}`),
        ),
    );
  await until(() => all.every(here));
}

/** Waits until something holds; the test's own time limit ends it. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
}

export const member = (id: bigint): MemberId => id as MemberId;
