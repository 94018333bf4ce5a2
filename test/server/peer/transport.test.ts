import { describe, expect, it } from 'vitest';
import { type Message, message } from '../../../src/server/raft/types.ts';
import { Certificates } from '../../support/certificates.ts';
import { connected, FakeHost, member, numbered, PeerSeat, type SeatOptions, seats, until } from './fake-host.ts';

async function pair(options: SeatOptions = {}, start = true): Promise<AsyncDisposable & { a: PeerSeat; b: PeerSeat }> {
  const [a, b] = (await seats(2, options, start)) as [PeerSeat, PeerSeat];
  if (start) await connected(a, b);
  return {
    a,
    b,
    async [Symbol.asyncDispose]() {
      await a[Symbol.asyncDispose]();
      await b[Symbol.asyncDispose]();
    },
  };
}

const commits = (messages: readonly Message[], type: Message['type']): number[] =>
  messages.filter((one) => one.type === type).map(({ commit }) => commit);
const upTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

describe('messages between members', () => {
  it('arrive by both streams, each in its order, and none is posted', async () => {
    await using both = await pair();
    const { a, b } = both;
    a.transport.send([...numbered(a, b, 2_000, 'MsgApp'), ...numbered(a, b, 2_000)]);
    b.transport.send(numbered(b, a, 10, 'MsgAppResp'));
    await until(() => b.host.received.length >= 4_000 && a.host.received.length >= 10);
    expect(commits(b.host.received, 'MsgApp')).toEqual(upTo(2_000));
    expect(commits(b.host.received, 'MsgHeartbeat')).toEqual(upTo(2_000));
    expect(commits(a.host.received, 'MsgAppResp')).toEqual(upTo(10));
    expect(b.asked).not.toContain('/raft');
    expect([...a.host.lost, ...b.host.lost]).toEqual([]);
  });

  it('are larger than a socket takes at once', async () => {
    await using both = await pair();
    const { a, b } = both;
    const entry = (i: number) => ({
      type: 'EntryNormal' as const,
      term: 1,
      index: i + 1,
      data: Buffer.alloc(3_000_000, i),
    });
    const ends = { from: member(1n), to: member(2n), term: 1 };
    a.transport.send(upTo(8).map((i) => message('MsgApp', { ...ends, index: i, logTerm: 1, entries: [entry(i)] })));
    await until(() => b.host.received.length === 8);
    for (const [i, one] of b.host.received.entries()) {
      expect(one.index).toBe(i);
      expect(Buffer.compare(one.entries[0]?.data ?? Buffer.alloc(0), entry(i).data)).toBe(0);
    }
  });

  it('are posted while there is no stream, and more than can wait are dropped with a word', async () => {
    await using both = await pair({}, false);
    const { a, b } = both;
    // It does not know the sender, so it asks for no streams, and there are none to write to.
    b.host.members.all.delete(1n);
    a.transport.start();
    b.transport.start();
    a.transport.send(numbered(a, b, 60));
    await until(() => b.host.received.length === 60);
    expect(commits(b.host.received, 'MsgHeartbeat').toSorted((x, y) => x - y)).toEqual(upTo(60));
    expect(a.host.lost).toEqual([]);
    a.transport.send(numbered(a, b, 1_000));
    // Not from within: the host is at work when it sends.
    expect(a.host.lost).toEqual([]);
    await until(() => a.host.lost.length > 0);
    expect(a.host.lost).toEqual([2n]);
    // The queue's 64, and up to four that are under way: fewer, as long as answers to those before are on their way.
    await until(() => b.host.received.length >= 60 + 64);
    a.transport.send(numbered(a, b, 1, 'MsgAppResp'));
    await until(() => b.host.received.some(({ type }) => type === 'MsgAppResp'));
    expect(b.host.received.length).toBeLessThanOrEqual(60 + 64 + 4 + 1);
  });

  it('to nobody, to a stranger and with images are not sent', async () => {
    await using both = await pair();
    const { a, b } = both;
    const [one] = numbered(a, b, 1) as [Message];
    a.transport.send([{ ...one, to: member(0n) }, { ...one, to: member(9n) }, { ...one, type: 'MsgSnap' }, one]);
    await until(() => b.host.received.length > 0 && a.host.lost.length > 0);
    expect(b.host.received).toHaveLength(1);
    expect(a.host.lost).toEqual([9n]);
  });

  it('go on after all connections were cut; the host hears that some may be lost', async () => {
    await using both = await pair();
    const { a, b } = both;
    await until(() => a.transport.connectedSince(2n) !== undefined);
    const since = a.transport.connectedSince(2n) ?? 0;
    for (let round = 1; round <= 3; round++) {
      a.host.lost.length = 0;
      for (const seat of [a, b]) {
        seat.asked.length = 0;
        seat.cut();
      }
      await connected(a, b);
      expect(a.host.lost).toContain(2n);
      a.transport.send([...numbered(a, b, 1, 'MsgApp'), ...numbered(a, b, 1)]);
      await until(() => b.host.received.length === 2 * round);
    }
    await until(() => (a.transport.connectedSince(2n) ?? 0) > since);
  });

  it('find the member at its second address', async () => {
    const host = new FakeHost(1n, 0xabcn);
    await using a = await PeerSeat.open(host);
    await using b = await PeerSeat.open(new FakeHost(2n, 0xabcn));
    await using gone = await PeerSeat.open(new FakeHost(3n, 0xabcn));
    await gone[Symbol.asyncDispose]();
    host.members.put(2n, gone.url, b.url);
    b.host.members.put(1n, a.url);
    a.transport.start();
    b.transport.start();
    await connected(a, b);
    b.transport.send(numbered(b, a, 1));
    a.transport.send(numbered(a, b, 1));
    await until(() => a.host.received.length + b.host.received.length === 2);
  });
});

describe('over TLS', () => {
  it('members show and ask for certificates; one without gets nowhere', async () => {
    await using authority = await Certificates.create();
    await using others = await Certificates.create();
    const { cert, key } = await authority.issue({ name: 'peer', hosts: ['127.0.0.1'], usage: 'both' });
    const tls = { cert, key, ca: authority.ca.cert };
    await using both = await pair({ tls });
    const { a, b } = both;
    a.transport.send(numbered(a, b, 100, 'MsgApp'));
    await until(() => b.host.received.length === 100);
    expect(a.url).toMatch(/^https:/);
    const stranger = await others.issue({ name: 'peer', hosts: ['127.0.0.1'], usage: 'both' });
    const foreign = { cert: stranger.cert, key: stranger.key, ca: authority.ca.cert };
    await using c = await PeerSeat.open(new FakeHost(3n, 0xabcn), { tls: foreign });
    c.host.members.put(1n, a.url);
    a.host.members.put(3n, c.url);
    a.transport.membersChanged();
    c.transport.start();
    await until(
      () => c.log.count('no message stream from a peer') > 0 && a.log.count('no message stream from a peer') > 0,
    );
    expect(a.asked.some((path) => path.endsWith('/3'))).toBe(false);
    expect(c.asked).toEqual([]);
  });
});

describe('who is in the cluster', () => {
  it('one that is added is connected, one whose address changes is found there', async () => {
    await using both = await pair();
    const { a, b } = both;
    await using c = await PeerSeat.open(new FakeHost(3n, 0xabcn));
    for (const { host } of [a, b]) c.host.members.put(host.id, host.members.get(host.id)?.peerUrls[0] ?? '');
    // An address where nobody is; then it moves to where it really is.
    await using nowhere = await PeerSeat.open(new FakeHost(4n, 0xabcn));
    await nowhere[Symbol.asyncDispose]();
    a.host.members.put(3n, nowhere.url);
    a.transport.membersChanged();
    await until(() => a.log.count('no message stream from a peer') > 0);
    a.host.members.put(3n, c.url);
    a.transport.membersChanged();
    c.transport.start();
    await connected(a, c);
    a.transport.send(numbered(a, c, 5));
    await until(() => c.host.received.length === 5);
  });

  it('one that is removed gets what was queued, and hears that it was', async () => {
    await using both = await pair();
    const { a, b } = both;
    a.transport.send(numbered(a, b, 100, 'MsgApp'));
    a.host.members.remove(2n);
    a.transport.membersChanged();
    await until(() => b.host.removals > 0);
    expect(commits(b.host.received, 'MsgApp')).toEqual(upTo(100));
    expect(a.transport.connectedSince(2n)).toBeUndefined();
    // What it sends is not taken any more, however it comes.
    b.transport.send(numbered(b, a, 3));
    await until(() => b.asked.length > 0 && b.host.lost.includes(1n));
    expect(a.host.received).toEqual([]);
    const posts = (): number => a.asked.filter((path) => path === '/raft').length;
    await until(() => posts() > 0);
    // It has stopped to ask. A request for the other stream may have been on its way until here.
    const asked = (): number => a.asked.filter((path) => path.startsWith('/raft/stream/')).length;
    const before = asked();
    const posted = posts();
    b.transport.send(numbered(b, a, 3));
    await until(() => posts() > posted);
    expect(b.host.removals).toBe(1);
    expect(asked()).toBe(before);
  });

  it('one that was removed itself keeps its connections until it ends', async () => {
    await using both = await pair();
    const { a, b } = both;
    b.host.members.all.clear();
    b.host.members.remove(2n);
    b.transport.membersChanged();
    a.transport.send(numbered(a, b, 1));
    await until(() => b.host.received.length === 1);
  });

  it('a sender that is not known is refused, and can be posted to where it says it is', async () => {
    const host = new FakeHost(1n, 0xabcn);
    await using a = await PeerSeat.open(host);
    await using b = await PeerSeat.open(new FakeHost(2n, 0xabcn));
    b.host.members.put(1n, a.url);
    a.transport.start();
    b.transport.start();
    await until(() => b.log.count('no msgapp stream from a peer', 'it does not know this member') > 0);
    a.transport.send(numbered(a, b, 1));
    await until(() => b.host.received.length === 1);
    expect(b.asked).toEqual(['/raft']);
  });

  it.each<[string, Partial<FakeHost>, string]>([
    ['another cluster', { clusterId: 0xdefn }, 'cluster ID mismatch'],
    ['a version that is too old', { version: '2.3.8' }, 'incompatible version'],
  ])('one of %s is refused, which is told once', async (_name, differs, cause) => {
    await using a = await PeerSeat.open(new FakeHost(1n, 0xabcn));
    await using b = await PeerSeat.open(Object.assign(new FakeHost(2n, 0xabcn), differs));
    b.host.members.put(1n, a.url);
    a.host.members.put(2n, b.url);
    a.transport.start();
    b.transport.start();
    await until(() => a.asked.filter((path) => path === '/raft/stream/message/2').length >= 3);
    expect(b.log.count('no message stream from a peer', cause)).toBe(1);
    b.transport.send(numbered(b, a, 1));
    await until(() => b.host.lost.length > 0);
    expect(a.host.received).toEqual([]);
    expect(b.host.removals).toBe(0);
  });
});

describe('the transport', () => {
  it('measures the way, and says when clocks differ', async () => {
    const roundTrips: bigint[] = [];
    const observe = { roundTrip: (id: bigint) => void roundTrips.push(id) };
    await using a = await PeerSeat.open(new FakeHost(1n, 0xabcn), { observe });
    await using b = await PeerSeat.open(new FakeHost(2n, 0xabcn), { timeOfDayMs: () => Date.now() + 100_000 });
    a.host.members.put(2n, b.url);
    a.transport.start();
    b.transport.start();
    await until(() => a.log.count('the clock of a peer differs') > 0 && roundTrips.length > 0);
    expect(roundTrips).toEqual([2n]);
  });

  it('hands on nothing more once it is closed, not even from the bytes at hand', async () => {
    await using both = await pair();
    const { a, b } = both;
    a.host.heard = () => void a.transport.close();
    b.transport.send(numbered(b, a, 100));
    await until(() => a.host.received.length > 0);
    await until(() => b.transport.connectedSince(1n) === undefined);
    expect(a.host.received).toHaveLength(1);
  });

  it('calls nobody after its end, and leaves no connection', async () => {
    const connections: boolean[] = [];
    await using both = await pair({ observe: { connected: (_id, yes) => void connections.push(yes) } });
    const { a, b } = both;
    await until(() => connections.length === 2);
    expect(connections).toEqual([true, true]);
    a.transport.send(numbered(a, b, 10));
    await a.transport.close();
    await until(() => b.sockets.size === 0);
    const heard = a.host.lost.length;
    b.transport.send(numbered(b, a, 100));
    a.transport.send(numbered(a, b, 10));
    await until(() => b.host.lost.length > 0);
    expect(a.host.received).toEqual([]);
    expect(a.host.lost.length).toBe(heard);
    a.transport.membersChanged();
    expect(a.transport.connectedSince(2n)).toBeUndefined();
  });
});
