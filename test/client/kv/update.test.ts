import { describe, expect, it } from 'vitest';
import { AbortError, CompactedError, DeadlineError, DecodeError, EtcdError } from '../../../src/client/errors.ts';
import { CompareTarget } from '../../../src/protocol/generated/etcdserverpb.ts';
import type { Revision } from '../../../src/protocol/int64.ts';
import { GrpcCode } from '../../../src/protocol/status.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { FakeMembers, refusal, type SeenCall, wireKv } from './fake-member.ts';

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));

/** A counter that somebody else always changes first. */
const contended = (): FakeMembers =>
  new FakeMembers(() => ({
    succeeded: false,
    header: { revision: 9n },
    responses: [{ responseRange: { kvs: [wireKv('k', '41')] } }],
  }));

/** A store of one counter, about half a millisecond away. */
class CounterStore {
  readonly members: FakeMembers;
  value: string | undefined;
  /** What was asked of it, and what it answered, in their order. */
  readonly log: { readonly at: number; readonly compared: string | undefined; readonly succeeded: boolean }[] = [];
  readonly #clock: VirtualClock;
  readonly #random = seeded(1);
  #revision = 5n;

  constructor(clock: VirtualClock) {
    this.#clock = clock;
    this.members = new FakeMembers(async (call) => {
      await this.#hop();
      const answer = this.#apply(call as Extract<SeenCall, { method: 'Txn' }>);
      await this.#hop();
      return answer;
    });
  }

  #hop(): Promise<void> {
    return new Promise((resolve) => void this.#clock.after(0.2 + 0.6 * this.#random(), resolve));
  }

  #apply({ request }: Extract<SeenCall, { method: 'Txn' }>): unknown {
    const [compare] = request.compare;
    const compared = compare?.value === undefined ? undefined : Buffer.from(compare.value).toString();
    const succeeded = compared === this.value;
    this.log.push({ at: this.#clock.now(), compared, succeeded });
    const header = { revision: ++this.#revision };
    if (succeeded) {
      this.value = Buffer.from(request.success[0]?.requestPut?.value ?? []).toString();
      return { succeeded, header, responses: [{ responsePut: {} }] };
    }
    const kvs = this.value === undefined ? [] : [wireKv('k', this.value, this.#revision)];
    return { succeeded, header, responses: [{ responseRange: { kvs } }] };
  }
}

/** Numbers that look random and are the same in each run (a linear congruential generator). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

describe('increment', () => {
  it('guesses that the key is not there, and else needs one round more', async () => {
    let answers = [
      { succeeded: false, responses: [{ responseRange: { kvs: [wireKv('k', '41', 6n)] } }] },
      { succeeded: true, responses: [{ responsePut: {} }] },
    ];
    const members = new FakeMembers(() => answers.shift());
    await using etcd = members.client();
    expect(await etcd.increment('k')).toBe(42n);
    const [guess, second] = members.of('Txn').map(({ request }) => request);
    expect(guess?.compare).toMatchObject([{ target: CompareTarget.VERSION, version: 0n }]);
    expect(second?.compare).toMatchObject([{ target: CompareTarget.VALUE, value: bytes('41') }]);
    expect(second?.success[0]?.requestPut?.value).toEqual(bytes('42'));
    // The key's lease is not the counter's business.
    expect(second?.success[0]?.requestPut?.ignoreLease).toBe(true);
    expect(guess?.success[0]?.requestPut?.ignoreLease).toBe(false);
    answers = [{ succeeded: true, responses: [{ responsePut: {} }] }];
    expect(await etcd.increment('fresh', { by: -3n })).toBe(-3n);
  });

  it('takes one round trip for what it has counted before, and two when others have since', async () => {
    const clock = new VirtualClock();
    const store = new CounterStore(clock);
    const etcd = store.members.client({ clock });
    const add = async (): Promise<bigint> => {
      const sum = etcd.increment('k');
      await clock.advance(20);
      return sum;
    };
    expect([await add(), await add(), await add()]).toEqual([1n, 2n, 3n]);
    expect(store.log.map(({ compared }) => compared)).toEqual([undefined, '1', '2']);
    // Written by somebody who likes a sign.
    store.value = '+0010';
    expect(await add()).toBe(11n);
    store.value = undefined;
    expect([await add(), await add()]).toEqual([1n, 2n]);
    expect(store.log.slice(3).map(({ compared }) => compared)).toEqual(['3', '+0010', '11', undefined, '1']);
    await etcd.close();
  });

  it('gives up after maxConflicts, and waits before it guesses, not between reading and writing', async () => {
    const clock = new VirtualClock();
    let there = 100;
    const seen: { readonly at: number; readonly compared: string }[] = [];
    // Somebody else always changes it first.
    const members = new FakeMembers((call) => {
      const [compare] = (call as Extract<SeenCall, { method: 'Txn' }>).request.compare;
      seen.push({ at: clock.now(), compared: Buffer.from(compare?.value ?? []).toString() });
      return { succeeded: false, responses: [{ responseRange: { kvs: [wireKv('k', `${++there}`)] } }] };
    });
    const etcd = members.client({ clock });
    const outcome = etcd.increment('k', { maxConflicts: 3 }).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    await clock.advance(4_000);
    const error = await outcome;
    expect(error).toBeInstanceOf(EtcdError);
    expect(error).toMatchObject({ applied: 'no' });
    expect((error as Error).message).toContain('4 times in a row');
    expect(seen.map(({ compared }) => compared)).toEqual(['', '101', '102', '103', '104', '105', '106', '107']);
    const waits = seen.slice(1).map(({ at }, i) => at - (seen[i]?.at ?? 0));
    // A tenth of 2, 4 and 8 ms: the dice say 0.
    const rounded = waits.map((ms) => Math.round(ms * 1_000) / 1_000);
    expect(rounded).toEqual([0, 0.2, 0, 0.4, 0, 0.8, 0]);
    expect(clock.pending.foreground).toBe(0);
    await etcd.close();
  });

  it('of many clients on one counter loses little time, and starves nobody', async () => {
    const clock = new VirtualClock();
    const store = new CounterStore(clock);
    const end = clock.now() + 20_000;
    const added = await Promise.all([
      clock.advance(60_000).then(() => []),
      ...Array.from({ length: 8 }, async (_, i) => {
        const etcd = store.members.client({ clock, random: seeded(i), timeoutMs: 30_000 });
        const sums: bigint[] = [];
        while (clock.now() < end) sums.push(await etcd.increment('k', { maxConflicts: 1_000 }));
        await etcd.close();
        return sums;
      }),
    ]);
    const sums = added.flat();
    expect(new Set(sums).size).toBe(sums.length);
    expect(store.value).toBe(String(sums.length));
    // One client alone would add once a millisecond.
    expect(sums.length).toBeGreaterThan(10_000);
    const shares = added.slice(1).map(({ length }) => length);
    expect(Math.min(...shares)).toBeGreaterThan(sums.length / 8 / 4);
  });

  it('keeps to its deadline over all rounds, and to its signal', async () => {
    const clock = new VirtualClock();
    const etcd = contended().client({ clock });
    const late = etcd.increment('k', { timeoutMs: 50, maxConflicts: 1_000 }).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    await clock.advance(1_000);
    expect(await late).toBeInstanceOf(DeadlineError);
    expect(await late).toMatchObject({ applied: 'no' });
    const abort = new AbortController();
    const aborted = etcd.increment('k', { signal: abort.signal }).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    await clock.advance(10);
    abort.abort();
    await clock.settle();
    expect(await aborted).toBeInstanceOf(AbortError);
    await etcd.close();
  });

  it.each(['', 'abc', '1.5', '0x1', ' 1', '1n'])('does not count on "%s"', async (value) => {
    const members = new FakeMembers(() => ({
      succeeded: false,
      responses: [{ responseRange: { kvs: [wireKv('k', value)] } }],
    }));
    await using etcd = members.client();
    await expect(etcd.increment('k')).rejects.toThrow(DecodeError);
    expect(members.calls).toHaveLength(1);
  });
});

describe('compact', () => {
  const COMPACTED = refusal(GrpcCode.OUT_OF_RANGE, 'etcdserver: mvcc: required revision has been compacted');
  function answering(...failures: (Error | undefined)[]) {
    const members = new FakeMembers(() => {
      const failure = failures.shift();
      if (failure !== undefined) throw failure;
      return { header: { revision: 9n } };
    });
    return { members, etcd: members.client({ retry: { initialMs: 1, maxMs: 1 } }) };
  }
  const revision = 5n as Revision;

  it('says so when that much was dropped before', async () => {
    const { etcd } = answering(COMPACTED);
    await expect(etcd.compact(revision)).rejects.toThrow(CompactedError);
    await etcd.close();
  });

  it('says so also when an attempt before that never left', async () => {
    const { members, etcd } = answering(refusal(GrpcCode.UNAVAILABLE, 'not connected', 'no'), COMPACTED);
    await expect(etcd.compact(revision)).rejects.toThrow(CompactedError);
    expect(members.of('Compact')).toHaveLength(2);
    await etcd.close();
  });

  it('is sent again when no answer came, and takes "compacted" for its own work then', async () => {
    for (const last of [COMPACTED, undefined]) {
      const { members, etcd } = answering(refusal(GrpcCode.UNAVAILABLE, 'gone'), last);
      await etcd.compact(revision, { physical: true });
      expect(members.of('Compact').map(({ request }) => request)).toEqual([
        { revision, physical: true },
        { revision, physical: true },
      ]);
      await etcd.close();
    }
  });

  it.each([[0n], [-1n], [undefined], [5]])('refuses %s', async (wrong) => {
    const { members, etcd } = answering();
    await expect(etcd.compact(wrong as never)).rejects.toMatchObject({ code: 'invalid-argument' });
    expect(members.calls).toEqual([]);
    await etcd.close();
  });
});
