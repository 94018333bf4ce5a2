/**
 * Whatever happens to streams, each watcher yields exactly the history: every event once,
 * in order, the events of a revision together.
 */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { revision } from '../../../src/protocol/int64.ts';
import { type Change, FakeEtcd, record } from './fake-etcd.ts';

const KEYS = ['a', 'b', 'c', 'd'];

const change = fc.tuple(fc.constantFrom(...KEYS), fc.option(fc.constantFrom('1', '2'), { nil: undefined }));
const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('commit' as const),
      changes: fc.uniqueArray(change, { minLength: 1, maxLength: 4, selector: ([key]) => key }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('cut' as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('cutAfter' as const), messages: fc.integer({ min: 1, max: 4 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('watch' as const),
      key: fc.constantFrom('', ...KEYS),
      from: fc.double({ min: 0, max: 1, noNaN: true }),
      bufferSize: fc.integer({ min: 1, max: 8 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 0, max: 3_000 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('progress' as const) }) },
);

describe('the history that a watcher yields', () => {
  it('is exact under cuts, fragments, slow readers and moves between streams', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 5, maxLength: 30 }),
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 3 }),
        async (steps, batchRevisions, fragmentEvents) => {
          const etcd = new FakeEtcd({ farBehind: 3n, progressIntervalMs: 700, members: 2 });
          Object.assign(etcd, { batchRevisions, fragmentEvents });
          const started: { from: bigint; key: string; entries: readonly string[] }[] = [];
          for (const action of steps) {
            if (action.do === 'commit') etcd.commit(...(action.changes as Change[]));
            else if (action.do === 'cut') for (const stream of etcd.open) stream.cut();
            else if (action.do === 'cutAfter') etcd.cutAfter = etcd.delivered + action.messages;
            else if (action.do === 'wait') await etcd.clock.advance(action.ms);
            else if (action.do === 'progress')
              for (const stream of etcd.open) stream.respond({ header: { revision: 1n }, watchId: -1n });
            else {
              const from = 1n + BigInt(Math.floor(action.from * Number(etcd.revision + 2n)));
              const watcher = etcd.watch(action.key === '' ? { prefix: '' } : action.key, {
                from: revision(from),
                bufferSize: action.bufferSize,
              });
              started.push({ from, key: action.key, entries: record(watcher).entries });
            }
            await etcd.settle();
          }
          etcd.cutAfter = undefined;
          for (let round = 0; round < 20; round++) await etcd.clock.advance(1_000);
          for (const { from, key, entries } of started) {
            const expected = etcd.history
              .filter((at) => at.revision >= from)
              .flatMap((at) => at.events)
              .map(
                ({ type, kv }) =>
                  `${type === 0 ? '+' : '-'}${Buffer.from(kv?.key ?? []).toString()}@${kv?.modRevision}`,
              )
              .filter((entry) => key === '' || entry.slice(1).startsWith(`${key}@`));
            expect(entries).toEqual(expected);
          }
          etcd.hub.close();
          expect(etcd.open).toEqual([]);
        },
      ),
      { numRuns: 150 },
    );
  });

  it('keeps a copy right under compaction and slow reading, with `resync`', async () => {
    const action = fc.oneof(
      { weight: 6, arbitrary: fc.tuple(fc.constant('commit' as const), change) },
      { weight: 2, arbitrary: fc.tuple(fc.constant('lose' as const), fc.array(change, { maxLength: 6 })) },
      { weight: 2, arbitrary: fc.tuple(fc.constant('read' as const), fc.integer({ min: 1, max: 6 })) },
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(action, { minLength: 5, maxLength: 40 }),
        fc.integer({ min: 1, max: 6 }),
        fc.constantFrom('pause' as const, 'resync' as const),
        async (actions, bufferSize, whenSlow) => {
          const etcd = new FakeEtcd({ farBehind: 3n });
          const watcher = etcd.watch({ prefix: '' }, { resync: true, bufferSize, whenSlow });
          await watcher.ready;
          const read = watcher[Symbol.asyncIterator]();
          const copy = new Map<string, bigint>();
          let wanted = 0;
          let revisionSeen = 0n;
          const reading = (async () => {
            for (;;) {
              while (wanted === 0) await etcd.settle();
              wanted -= 1;
              const { value, done } = await read.next();
              if (done) return;
              if (value.type === 'put') {
                if (value.synthetic) expect(value.isCreate).toBe(!copy.has(value.kv.key));
                copy.set(value.kv.key, value.kv.modRevision);
              } else if (value.type === 'delete') copy.delete(value.kv.key);
              if (value.type === 'put' && !value.synthetic) {
                expect(value.revision).toBeGreaterThanOrEqual(revisionSeen);
                revisionSeen = value.revision;
              }
            }
          })();
          for (const [what, detail] of actions) {
            if (what === 'commit') etcd.commit(detail as unknown as Change);
            else if (what === 'read') wanted += detail;
            else {
              for (const stream of etcd.open) stream.cut();
              for (const lost of detail) etcd.commit(lost as Change);
              etcd.compact(etcd.revision);
            }
            await etcd.clock.advance(300);
          }
          wanted = Number.POSITIVE_INFINITY;
          for (let round = 0; round < 10; round++) await etcd.clock.advance(1_000);
          const state = [...etcd.stateAt(etcd.revision)].map(([key, { modRevision }]) => [key, modRevision]);
          expect([...copy].sort()).toEqual(state.sort());
          watcher.close();
          await reading;
        },
      ),
      { numRuns: 100 },
    );
  });

  it('is exact when the stream is cut after any message of a session', async () => {
    const session = async (cutAfter: number | undefined): Promise<{ entries: string[]; delivered: number }> => {
      const etcd = new FakeEtcd();
      etcd.fragmentEvents = 2;
      etcd.cutAfter = cutAfter;
      for (let index = 0; index < 3; index++) etcd.commit(['a', '1'], ['b', '1'], ['c', '1']);
      const seen = record(etcd.watch({ prefix: '' }, { from: revision(2) }));
      for (let index = 0; index < 5; index++) {
        etcd.commit(['a', '1'], ['b'], ['c', '1'], ['d', '1'], ['e', '1']);
        await etcd.clock.advance(10);
      }
      await etcd.clock.advance(5_000);
      return { entries: seen.entries, delivered: etcd.delivered };
    };
    const whole = await session(undefined);
    expect(whole.entries).toHaveLength(34);
    expect(whole.delivered).toBeGreaterThan(15);
    for (let cutAfter = 1; cutAfter <= whole.delivered; cutAfter++) {
      expect((await session(cutAfter)).entries).toEqual(whole.entries);
    }
  });
});
