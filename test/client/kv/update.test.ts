import { describe, expect, it } from 'vitest';
import { AbortError, CompactedError, DeadlineError, DecodeError, EtcdError } from '../../../src/client/errors.ts';
import type { Revision } from '../../../src/protocol/int64.ts';
import { GrpcCode } from '../../../src/protocol/status.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { FakeMembers, refusal, wireKv } from './fake-member.ts';

/** A counter that somebody else always changes first. */
const contended = (): FakeMembers =>
  new FakeMembers(() => ({
    succeeded: false,
    header: { revision: 9n },
    responses: [{ responseRange: { kvs: [wireKv('k', '41')] } }],
  }));

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
    expect(guess?.compare[0]?.modRevision).toBe(0n);
    expect(second?.compare[0]?.modRevision).toBe(6n);
    expect(Buffer.from(second?.success[0]?.requestPut?.value ?? []).toString()).toBe('42');
    // The key's lease is not the counter's business.
    expect(second?.success[0]?.requestPut?.ignoreLease).toBe(true);
    expect(guess?.success[0]?.requestPut?.ignoreLease).toBe(false);
    answers = [{ succeeded: true, responses: [{ responsePut: {} }] }];
    expect(await etcd.increment('fresh', { by: -3n })).toBe(-3n);
  });

  it('gives up after maxConflicts, waiting in between', async () => {
    const clock = new VirtualClock();
    const members = contended();
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
    expect(members.calls).toHaveLength(5);
    expect(clock.pending.foreground).toBe(0);
    await etcd.close();
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
