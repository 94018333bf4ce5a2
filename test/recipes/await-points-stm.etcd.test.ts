/** The STM, struck by every fault at every await point: whatever it says of a transaction is so. */
import { expect } from 'vitest';
import { Election } from '../../recipes/election/election.ts';
import { UnknownOutcomeError } from '../../recipes/errors.ts';
import type { Held } from '../../recipes/held.ts';
import { type Isolation, type StmResult, stm } from '../../recipes/stm/stm.ts';
import { EtcdError } from '../../src/index.ts';
import { describeOnRealEtcd } from '../support/fixtures.ts';
import { type Ending, holdsAtEveryPoint, type KeyEvent, type Stage } from './await-points.ts';

const LEVELS = ['serializable-snapshot', 'serializable', 'repeatable-reads', 'read-committed'] as const;

/** What a transaction leaves that nobody else writes. */
const receiptOf = ({ session }: Stage): string => `receipt-${session.id}`;

/**
 * Adds one to a counter, by way of reads of one key, of several in one turn, and of a range; a rival writes to what was
 * read while the first attempt is under way.
 */
function transact(stage: Stage, isolation: Isolation, guard?: Held): Promise<StmResult<number>> {
  const { name, rival } = stage;
  const options = { isolation, guard, markerPrefix: `${name}/markers/`, maxAttempts: 1_000 };
  return stm(
    stage.etcd,
    async (tx) => {
      const mine = tx.keyspace(`${name}-`);
      const count = Number((await mine.get('count')) ?? 0);
      await Promise.all([mine.get('a'), mine.get('b')]);
      const listed = await mine.range({ prefix: 'list-' });
      if (tx.attempt === 1) await rival.etcd.put(`${name}-list-${stage.session.id}`, 'new');
      mine.put('count', String(count + 1));
      mine.put('listed', String(listed.length));
      mine.put(receiptOf(stage), String(count + 1));
      return count + 1;
    },
    options,
  );
}

/** What was told: committed at the revision that was given, or not committed, or that nobody knows. */
async function definite({ ok, result, error }: Ending<StmResult<number>, unknown>, stage: Stage): Promise<void> {
  const receipt = await stage.rival.etcd.get(`${stage.name}-${receiptOf(stage)}`);
  if (ok) expect(receipt).toMatchObject({ value: String(result!.value), modRevision: result!.revision, version: 1n });
  else if (!(error instanceof UnknownOutcomeError)) {
    expect([error, receipt]).toEqual([error, undefined]);
    if (error instanceof EtcdError) expect(error.applied).toBe('no');
  }
}

/** Each transaction is in the history once at most, and at the levels that look, no count was lost. */
function exact(isolation: Isolation, events: readonly KeyEvent[], { name }: Stage): void {
  const puts = events.filter(({ type }) => type === 'put');
  const receipts = puts.filter(({ key }) => key.startsWith(`${name}-receipt-`)).map(({ key }) => key);
  expect(new Set(receipts).size).toBe(receipts.length);
  if (isolation === 'read-committed') return;
  const counts = puts.filter(({ key }) => key === `${name}-count`).map(({ value }) => Number(value));
  expect(counts).toEqual(receipts.map((_, index) => index + 1));
  // A phantom: what was listed is what was there at the commit.
  let listed = 0;
  for (const { key, value } of puts) {
    if (key.startsWith(`${name}-list-`)) listed++;
    if (key === `${name}-listed`) expect(Number(value)).toBe(listed);
  }
}

describeOnRealEtcd('The STM at every await point', (suite) => {
  // Markers hang on a lease that runs out by itself.
  const mayStay = (key: string): boolean => key.startsWith('markers/');

  for (const [isolation, marker] of [...LEVELS.map((level) => [level, 'used'] as const), [LEVELS[0], 'new']] as const) {
    holdsAtEveryPoint(
      suite,
      { points: isolation === 'read-committed' ? 4 : 5 },
      {
        name: `${isolation}: read, compute, commit with a marker that is ${marker}`,
        prepare: async ({ etcd, name }) => {
          const markerPrefix = `${name}/markers/`;
          if (marker === 'used') await stm(etcd, (tx) => tx.put(`${name}-warm`, ''), { markerPrefix });
        },
        run: (stage) => transact(stage, isolation),
        check: async (ending, stage) => {
          await definite(ending, stage);
          // It needs no session, and nothing that befell it is lasting.
          expect(ending.error).toBeUndefined();
        },
        checkHistory: (events, stage) => exact(isolation, events, stage),
        mayStay,
      },
    );
  }

  holdsAtEveryPoint(
    suite,
    { points: 8 },
    {
      name: 'under a leadership',
      run: async (stage) => {
        await using leader = await new Election(stage.session, stage.name).campaign();
        return await transact(stage, 'serializable-snapshot', leader);
      },
      check: definite,
      checkHistory: (events, stage) => exact('serializable-snapshot', events, stage),
      mayStay,
    },
  );

  const sums = new Map<string, (string | undefined)[][]>();
  holdsAtEveryPoint(
    suite,
    { points: 2 },
    {
      name: 'read only: one revision, whatever is written and compacted meanwhile',
      prepare: async ({ rival: { etcd }, name }) => {
        await etcd.txn({ then: [etcd.op.put(`${name}-a`, '0'), etcd.op.put(`${name}-b`, '0')] });
      },
      run: async ({ etcd, rival, name }) => {
        const { value } = await stm(etcd, async (tx) => {
          const a = await tx.get(`${name}-a`);
          const both = ['a', 'b'].map((key) => rival.etcd.op.put(`${name}-${key}`, String(tx.attempt)));
          await rival.etcd.txn({ then: both });
          return [a, await tx.get(`${name}-b`)];
        });
        sums.set(name, [...(sums.get(name) ?? []), value]);
      },
      check: ({ error }, { name }) => {
        expect(error).toBeUndefined();
        for (const [a, b] of sums.get(name)!) expect(a).toBe(b);
      },
    },
  );
});
