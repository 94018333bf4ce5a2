/** The fault bed bites: locks as one would write them at first, each with one mistake that it must find. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { participantKey } from '../../recipes/names.ts';
import type { Etcd, Revision } from '../../src/index.ts';
import { describeOnRealEtcd } from '../support/fixtures.ts';
import { FAULTS, type Fault, type Scenario, type Stage, strikeEveryPoint } from './await-points.ts';
import { expectFenced } from './fenced-history.ts';
import { fired } from './lock-bed.ts';

/** What is wrong with a lock. */
type Mistake =
  | 'nothing wrong'
  /** Its key is forgotten when no answer came to the transaction that puts it. */
  | 'no resolve'
  /** What it guards is written by belief. */
  | 'no guard'
  /** Whatever ends the watch counts as the release that is waited for. */
  | 'the end of the watch is the event'
  /** An answer that does not come is waited for without a limit. */
  | 'no limit';

interface Place {
  readonly key: string;
  readonly token: Revision;
}

/** Waits its turn, writes its token, and goes; by the book as long as nothing breaks. */
async function naive({ etcd, session, name, prefix }: Stage, mistake: Mistake): Promise<void> {
  const { op } = etcd;
  const place = await enter(etcd, participantKey(prefix, session.id));
  try {
    await turn(place);
    const held = etcd.key(place.key).createRevision.equals(place.token);
    const put = op.put(`${name}-data`, String(place.token));
    await etcd.txn({ if: mistake === 'no guard' ? [] : [held], then: [put] });
  } finally {
    // Deletes are repeated by hand: they are not the mistake that is looked for.
    for (let tries = 0; tries < 20; tries++) {
      if (await etcd.delete(place.key).then(Boolean, () => !session.alive)) break;
    }
  }

  async function enter(client: Etcd, key: string): Promise<Place> {
    for (;;) {
      try {
        const put = op.put(key, '', { lease: session.lease });
        const done = await client.txn({ if: [client.key(key).missing], then: [put], else: [op.get(key)] });
        return { key, token: done.succeeded ? done.revision : (done.results[0]?.createRevision as Revision) };
      } catch (error) {
        if (mistake === 'no limit') await new Promise(() => {});
        if (mistake === 'no resolve' || (error as { applied?: string }).applied !== 'maybe') throw error;
      }
    }
  }

  async function turn({ token }: Place): Promise<void> {
    for (;;) {
      const { kvs, revision } = await etcd.range({ prefix });
      const older = kvs.filter((kv) => kv.createRevision < token).at(-1);
      if (older === undefined) return;
      try {
        for await (const _ of etcd.watch(older.key, { from: (revision + 1n) as Revision, only: 'delete' })) break;
      } catch {
        if (mistake === 'the end of the watch is the event') return;
      }
    }
  }
}

function scenario(mistake: Mistake): Scenario {
  return {
    name: `a lock with ${mistake}`,
    prepare: async ({ rival, prefix }) => {
      const key = participantKey(prefix, rival.session.id);
      await rival.etcd.put(key, '', { lease: rival.session.lease });
      return key;
    },
    run: (stage) => naive(stage, mistake),
    alongside: async (stage, key) => {
      await stage.watching(1);
      // Holds on for a moment that an impatient waiter would use.
      await Promise.race([fired(stage.over), sleep(200)]);
      await stage.rival.etcd.delete(key as string);
    },
    checkHistory: (events, { name }) => void expectFenced(events, { queue: `${name}/`, data: `${name}-data` }),
  };
}

describeOnRealEtcd('The fault bed bites', (suite) => {
  const struck = async (mistake: Mistake, faults: readonly Fault[] = FAULTS): Promise<string> => {
    const report = await strikeEveryPoint(suite, scenario(mistake), { faults, runMs: 3_000 });
    expect(report.struck).toBe(report.points.length * faults.length);
    expect(report.points).toContain('Watch.create#1');
    return report.failures.join('\n');
  };

  it('without a mistake there is nothing to find', async () => {
    expect(await struck('nothing wrong')).toBe('');
  });

  it('an orphan that stands in the way of others is found', async () => {
    expect(await struck('no resolve', ['reply-lost'])).toMatch(/^reply-lost at Txn#1: the second actor: /m);
  });

  it('a write by one that does not hold any more is found', async () => {
    expect(await struck('no guard', ['lease-revoked', 'key-deleted'])).toMatch(
      /^(lease-revoked|key-deleted) at Txn#2: the history: .*a write by/m,
    );
  });

  it('a wait that ends with its watch is found', async () => {
    expect(await struck('the end of the watch is the event', ['compacted', 'compacted-and-cut'])).toMatch(
      /^compacted(-and-cut)? at Watch.create#1: the history: /m,
    );
  });

  it('a wait without an end is found', async () => {
    expect(await struck('no limit', ['reply-lost'])).toMatch(/^reply-lost at Txn#1: the actor has not ended/m);
  });
});
