/** Members of one process on a network that does what a test says. */
import { describe, expect, it } from 'vitest';
import { Member } from '../../src/server/member/member.ts';
import type { PeerHost, Peers } from '../../src/server/member/peers.ts';
import { message, proposal } from '../../src/server/raft/index.ts';
import { Refusals, RpcError } from '../../src/server/refusals.ts';
import { Network, type NetworkOptions } from '../../src/testing/network.ts';
import { put, optionsOf as soloOptions, valueAt } from '../server/member/support.ts';
import { VirtualClock } from '../support/virtual-clock.ts';

const CLUSTER = 0xcn;

/** A member that only notes what reaches it. */
class FakeHost {
  readonly got: string[] = [];
  readonly peers: Peers;
  readonly removedIds = new Set<bigint>();
  readonly host: PeerHost;
  /** What it does with images. */
  takes: (chunks: AsyncIterable<Uint8Array>) => Promise<void> = async (chunks) => {
    for await (const chunk of chunks) this.got.push(`piece ${chunk.join()}`);
  };
  renews: (signal: AbortSignal) => Promise<number> = async () => 7;

  constructor(network: Network, clock: VirtualClock, id: bigint, clusterId = CLUSTER) {
    this.host = {
      id,
      clusterId,
      version: `3.5.${id}`,
      members: {
        list: () => [1n, 2n, 3n].map((one) => ({ id: one })),
        wasRemoved: (one: bigint) => this.removedIds.has(one),
      } as never,
      leader: 0n,
      now: () => clock.now() + 50_000,
      receive: ({ from, index }) => this.got.push(`${index} from ${from}`),
      receiveSnapshot: (_, chunks) => this.takes(chunks),
      unreachable: (one) => this.got.push(`unreachable ${one}`),
      removed: () => this.got.push('removed'),
      renewLeaseHere: (_, signal) => this.renews(signal),
      timeToLiveHere: async () => {
        throw new RpcError(Refusals.LeaseNotFound);
      },
      promoteHere: async () => {
        throw new RpcError(Refusals.NotLeader);
      },
      hashKv: () => Refusals.Compacted,
    };
    this.peers = network.connect()(this.host);
    this.peers.start();
  }

  send(to: bigint, ...indexes: number[]): void {
    this.peers.send(indexes.map((index) => message('MsgApp', { from: this.host.id as never, to: to as never, index })));
  }
}

/** A sequence that looks random and is the same each time. */
function numbers(): () => number {
  let state = 1;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

function setUp(options: Partial<NetworkOptions> = {}) {
  const clock = new VirtualClock();
  const network = new Network({ clock, random: numbers(), ...options });
  const host = (id: bigint, clusterId?: bigint): FakeHost => new FakeHost(network, clock, id, clusterId);
  return { clock, network, host };
}

const count = (length: number): number[] => Array.from({ length }, (_, n) => n);

describe('messages', () => {
  it('take their time and come in their order', async () => {
    const { clock, host } = setUp({ link: { minDelayMs: 10, jitterMs: 10 } });
    const [a, b] = [host(1n), host(2n)];
    a.send(2n, ...count(50));
    await clock.advance(9);
    expect(b.got).toEqual([]);
    await clock.advance(11);
    expect(b.got).toEqual(count(50).map((n) => `${n} from 1`));
  });

  it('come out of order, twice or never, if so asked', async () => {
    const { clock, host } = setUp({
      link: { jitterMs: 10, ordered: false, dropChance: 0.2, duplicateChance: 0.3 },
    });
    const [a, b] = [host(1n), host(2n)];
    a.send(2n, ...count(200));
    await clock.advance(20);
    const got = b.got.map((line) => Number.parseInt(line, 10));
    expect(got).not.toEqual(got.toSorted((x, y) => x - y));
    expect(new Set(got).size).toBeGreaterThan(120);
    expect(new Set(got).size).toBeLessThan(195);
    expect(got.length).toBeGreaterThan(new Set(got).size + 20);
    // Loss is silent, as within a connection that lives.
    expect(a.got).toEqual([]);
  });

  it('have memory of their own', async () => {
    const { clock, host } = setUp();
    const [a, b] = [host(1n), host(2n)];
    const data = Uint8Array.of(1);
    let seen: Uint8Array | undefined;
    b.host.receive = ({ entries }) => {
      seen = entries[0]?.data;
    };
    a.peers.send([message('MsgApp', { from: 1n as never, to: 2n as never, entries: [proposal(data)] })]);
    data[0] = 9;
    await clock.advance(1);
    expect(seen && [...seen]).toEqual([1]);
  });

  it('do not cross a cut, in that direction; the sender hears of it once', async () => {
    const { clock, network, host } = setUp();
    const [a, b] = [host(1n), host(2n)];
    a.send(2n, 0);
    network.cut(1n, 2n);
    a.send(2n, 1, 2);
    b.send(1n, 3);
    await clock.advance(5);
    // What was on its way arrives.
    expect(b.got).toEqual(['0 from 1']);
    expect(a.got.toSorted()).toEqual(['3 from 2', 'unreachable 2']);
    network.mend();
    a.send(2n, 4);
    await clock.advance(5);
    expect(b.got.at(-1)).toBe('4 from 1');
  });

  it('of members that were removed, or are of another cluster, are not taken', async () => {
    const { clock, host } = setUp();
    const [a, b, stranger] = [host(1n), host(2n), host(3n, 0xdn)];
    b.removedIds.add(1n);
    a.send(2n, 1);
    stranger.send(2n, 1);
    await clock.advance(5);
    expect(b.got).toEqual([]);
    expect(a.got).toEqual(['removed']);
    expect(stranger.got).toEqual([]);
  });

  it('wait for a member that stands still, and are lost on one that is gone', async () => {
    const { clock, network, host } = setUp();
    const [a, b] = [host(1n), host(2n)];
    network.pause(2n);
    a.send(2n, 1, 2);
    await clock.advance(5);
    expect(b.got).toEqual([]);
    network.resume(2n);
    expect(b.got).toEqual(['1 from 1', '2 from 1']);
    await b.peers.close();
    a.send(2n, 3);
    await clock.advance(5);
    expect(b.got).toHaveLength(2);
    expect(a.got).toEqual(['unreachable 2']);
  });
});

describe('connections', () => {
  it('last from the later start, or the last mend, on the own clock', async () => {
    const { clock, network, host } = setUp();
    const a = host(1n);
    expect(a.peers.connectedSince(2n)).toBeUndefined();
    await clock.advance(10);
    host(2n);
    const since = a.host.now();
    await clock.advance(10);
    expect(a.peers.connectedSince(2n)).toBe(since);
    network.isolate(2n);
    expect(a.peers.connectedSince(2n)).toBeUndefined();
    network.mend();
    await clock.advance(10);
    expect(a.peers.connectedSince(2n)).toBe(since + 10);
  });
});

describe('questions', () => {
  it('have answers, and refusals that count', async () => {
    const { clock, host } = setUp();
    const [a] = [host(1n), host(2n)];
    const answers = Promise.all([
      a.peers.renewLease(2n, 5n, undefined),
      a.peers.timeToLive(2n, 5n, undefined),
      a.peers.promote(2n, 5n, undefined),
      a.peers.hashKv(2n, 0, undefined),
      a.peers.renewLease(3n, 5n, undefined),
    ]);
    await clock.advance(5);
    expect(await answers).toEqual([
      { type: 'answer', value: 7 },
      { type: 'refused', refusal: Refusals.LeaseNotFound },
      { type: 'unreachable' },
      { type: 'refused', refusal: Refusals.Compacted },
      { type: 'unreachable' },
    ]);
    const versions = a.peers.versions();
    await clock.advance(5);
    expect(await versions).toEqual(new Map([[2n, '3.5.2']]));
  });

  it('end by time across a cut, by the signal, and with the connection', async () => {
    const { clock, network, host } = setUp({ questionTimeoutMs: 100 });
    const [a, b] = [host(1n), host(2n)];
    const ends: string[] = [];
    const ask = (name: string, signal?: AbortSignal): void => {
      void a.peers.renewLease(2n, 5n, signal).then(({ type }) => ends.push(`${name} ${type}`));
    };
    network.cut(2n, 1n);
    ask('cut');
    await clock.advance(99);
    expect(ends).toEqual([]);
    await clock.advance(1);
    expect(ends).toEqual(['cut unreachable']);
    network.mend();
    let asked: AbortSignal | undefined;
    b.renews = (signal) => {
      asked = signal;
      return new Promise(() => {});
    };
    const caller = new AbortController();
    ask('signal', caller.signal);
    await clock.advance(5);
    expect(asked?.aborted).toBe(false);
    caller.abort();
    await clock.settle();
    expect(asked?.aborted).toBe(true);
    ask('close');
    await clock.advance(5);
    await a.peers.close();
    await clock.settle();
    expect(ends.slice(1)).toEqual(['signal unreachable', 'close unreachable']);
    expect(clock.pending.all).toBe(0);
  });
});

describe('images', () => {
  const image = (pieces: number, closed: () => void = () => {}) => ({
    sizeBytes: pieces,
    chunks: (async function* () {
      try {
        for (let piece = 0; piece < pieces; piece++) yield Uint8Array.of(piece);
      } finally {
        closed();
      }
    })(),
  });
  const about = message('MsgSnap', { from: 1n as never, to: 2n as never, index: 9 });

  it('come whole', async () => {
    const { clock, host } = setUp();
    const [a, b] = [host(1n), host(2n)];
    const sent = a.peers.sendSnapshot(about, image(3));
    await clock.advance(10);
    expect(await sent).toBe(true);
    expect(b.got).toEqual(['piece 0', 'piece 1', 'piece 2']);
    expect(clock.pending.all).toBe(0);
  });

  it.each<[string, (net: Network, b: FakeHost) => void]>([
    ['the connection is cut', (network) => network.isolate(2n)],
    ['the receiver closes', (_, b) => void b.peers.close()],
    ['the receiver is switched off', (network) => network.disconnect(2n)],
  ])('break off when %s', async (_, fault) => {
    const { clock, network, host } = setUp();
    const [a, b] = [host(1n), host(2n)];
    let closed = 0;
    let thrown = 0;
    b.takes = async (chunks) => {
      try {
        for await (const chunk of chunks) if (b.got.push(`piece ${chunk.join()}`) === 2) fault(network, b);
      } catch (error) {
        thrown += 1;
        throw error;
      }
    };
    const sent = a.peers.sendSnapshot(
      about,
      image(5, () => {
        closed += 1;
      }),
    );
    await clock.advance(10);
    expect(await sent).toBe(false);
    expect(b.got).toHaveLength(2);
    expect(closed).toBe(1);
    // Whoever is switched off does nothing any more.
    expect(thrown).toBe(fault.toString().includes('disconnect') ? 0 : 1);
    expect(clock.pending.all).toBe(0);
  });

  it('break off by chance', async () => {
    const { clock, host } = setUp({ link: { breakChance: 0.5 } });
    const [a, b] = [host(1n), host(2n)];
    const sent = a.peers.sendSnapshot(about, image(30));
    await clock.advance(100);
    expect(await sent).toBe(false);
    expect(b.got.length).toBeLessThan(30);
  });

  it('are given up when nothing moves', async () => {
    const { clock, host } = setUp({ stallTimeoutMs: 50 });
    const [a, b] = [host(1n), host(2n)];
    b.takes = () => new Promise(() => {});
    const sent = a.peers.sendSnapshot(about, image(1));
    await clock.advance(60);
    expect(await sent).toBe(false);
  });
});

describe('three members', () => {
  const names = ['a', 'b', 'c'];
  const initialCluster = names.map((name) => ({ name, peerUrls: [`http://${name}:2380`] }));

  async function started(network: Network, clock: VirtualClock): Promise<readonly Member[]> {
    const random = numbers();
    const start = (name: string): Promise<Member> =>
      Member.start({
        ...soloOptions(clock),
        name,
        initialCluster,
        clusterToken: 'three',
        random: (bound) => Math.floor(random() * bound),
        connect: network.connect(),
      });
    const members = await Promise.all(names.map(start));
    await clock.advance(3_000);
    await Promise.all(members.map(({ ready }) => ready));
    return members;
  }

  const leaderOf = (members: readonly Member[]): Member =>
    members.find(({ id, position }) => position.leader === id) as Member;

  it('elect a leader, replicate, and do so again without it', async () => {
    const { clock, network } = setUp();
    const members = await started(network, clock);
    const first = leaderOf(members);
    const [one, two] = members.filter((member) => member !== first) as [Member, Member];
    const written = put(one, 'k', 'v');
    await clock.advance(200);
    await written;
    expect(members.map((member) => valueAt(member, 'k'))).toEqual(['v', 'v', 'v']);
    network.isolate(first.id);
    const lost = put(first, 'k', 'never').catch((error: RpcError) => error.refusal.text);
    await clock.advance(5_000);
    const second = leaderOf([one, two]);
    const after = put(second, 'k', 'w');
    await clock.advance(1_000);
    await after;
    expect(members.map((member) => valueAt(member, 'k'))).toEqual(
      members.map((member) => (member === first ? 'v' : 'w')),
    );
    network.mend();
    await clock.advance(10_000);
    expect(await lost).toContain(Refusals.Timeout.text);
    expect(members.map((member) => valueAt(member, 'k'))).toEqual(['w', 'w', 'w']);
    const stopped = Promise.all(members.map((member) => member.stop()));
    await clock.advance(10_000);
    await stopped;
    expect(network.connected).toEqual([]);
    expect(clock.pending.all).toBe(0);
  });
});
