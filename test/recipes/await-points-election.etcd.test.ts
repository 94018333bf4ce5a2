/** The election, struck by every fault at every await point. */
import { expect } from 'vitest';
import { Election } from '../../recipes/election/election.ts';
import { orderKey } from '../../recipes/election/hand-over.ts';
import type { Leadership } from '../../recipes/election/leadership.ts';
import { type ElectionState, ElectionView } from '../../recipes/election/view.ts';
import { LostError } from '../../recipes/errors.ts';
import { AbortError, EtcdError } from '../../src/index.ts';
import { describeOnRealEtcd } from '../support/fixtures.ts';
import { type Ending, type Fault, holdsAtEveryPoint, type KeyEvent, type Stage } from './await-points.ts';
import { expectGrowingTerms, expectObserved, reignsOf } from './election-history.ts';
import { expectFenced } from './fenced-history.ts';
import { fired, until } from './lock-bed.ts';

/** A write that only the leader can make, which says in which term it was made; sent again when no answer came. */
async function write(leader: Leadership, name: string): Promise<void> {
  for (;;) {
    try {
      await leader.kv.put(`${name}-data`, String(leader.term));
      return;
    } catch (error) {
      if (!(error instanceof EtcdError && error.applied === 'maybe')) throw error;
    }
  }
}

/** What takes neither its session nor its key from a program is no reason to fail. */
function survives({ error, strike }: Ending<unknown, unknown>): void {
  const passing: readonly (Fault | undefined)[] = ['reply-lost', 'cut', 'late', 'compacted', 'compacted-and-cut'];
  if (passing.includes(strike?.fault)) expect(error).toBeUndefined();
}

/** What every election's history has to show: writes by leaders only, growing terms, and no order that was left. */
function fenced(events: readonly KeyEvent[], { name }: Stage): void {
  expectFenced(events, { queue: `${name}/`, data: `${name}-data` });
  expectGrowingTerms(reignsOf(events, `${name}/`, 0n as never));
  expect(events.findLast(({ key }) => key === orderKey(`${name}/`))?.type ?? 'none').not.toBe('put');
}

/** Campaigns as the rival until that works or the actor has ended; leads, and goes. */
async function leadOnce({ rival, name, over }: Stage, value: string): Promise<void> {
  try {
    await using leader = await new Election(rival.session, name).campaign({ value, signal: over });
    await write(leader, name);
    await leader.resign();
  } catch (error) {
    if (!over.aborted && !(error instanceof LostError)) throw error;
  }
}

describeOnRealEtcd('The election at every await point', (suite) => {
  holdsAtEveryPoint(
    suite,
    { points: 5 },
    {
      name: 'campaign when nobody leads, write, proclaim, resign',
      run: async ({ session, name }) => {
        await using leader = await new Election(session, name).campaign({ value: 'a' });
        await write(leader, name);
        await leader.proclaim('a, again');
        await write(leader, name);
        await leader.resign();
      },
      check: survives,
      checkHistory: fenced,
    },
  );

  holdsAtEveryPoint(
    suite,
    { points: 5 },
    {
      // A proclamation that was sent again, and whose first request arrives when another has followed, comes too late.
      name: 'proclaim this and that',
      run: async ({ session, name }) => {
        await using leader = await new Election(session, name).campaign({ value: '0' });
        for (const value of ['1', '2', '3']) await leader.proclaim(value);
        await write(leader, name);
        await leader.resign();
      },
      check: survives,
      checkHistory: (events, stage) => {
        fenced(events, stage);
        const said = new Map<string, string>();
        for (const { type, key, value } of events) {
          if (type !== 'put' || !key.startsWith(stage.prefix)) continue;
          expect(value >= (said.get(key) ?? '')).toBe(true);
          said.set(key, value);
        }
      },
    },
  );

  holdsAtEveryPoint(
    suite,
    { points: 7 },
    {
      name: 'campaign and wait, write, resign',
      prepare: ({ rival, name }) => new Election(rival.session, name).campaign({ value: 'rival' }),
      run: async ({ session, name }) => {
        await using leader = await new Election(session, name).campaign({ value: 'a' });
        await write(leader, name);
        await leader.resign();
      },
      alongside: async (stage, rival) => {
        await stage.entered(2);
        await stage.watching(2);
        await write(rival, stage.name);
        await rival.resign();
      },
      check: survives,
      checkHistory: fenced,
    },
  );

  holdsAtEveryPoint(
    suite,
    { points: 4 },
    {
      name: 'campaign and give up',
      prepare: async ({ rival, name }) => ({
        leader: await new Election(rival.session, name).campaign({ value: 'rival' }),
        stop: new AbortController(),
      }),
      run: async ({ session, name }, { stop }) => {
        try {
          await new Election(session, name).campaign({ signal: stop.signal });
        } catch (error) {
          if (!(error instanceof AbortError)) throw error;
        }
      },
      alongside: async (stage, { leader, stop }) => {
        await stage.entered(2);
        await stage.watching(2);
        stop.abort();
        await fired(stage.over);
        // Its place is gone though its session lives; where that is not certain to the actor, at the latest soon.
        if (stage.session.alive)
          await until(async () => (await stage.rival.etcd.count({ prefix: stage.prefix })) === 1);
        await leader.resign();
      },
      check: survives,
      checkHistory: fenced,
    },
  );

  holdsAtEveryPoint(
    suite,
    { points: 4 },
    {
      name: 'tryCampaign when nobody leads, and resume',
      run: async ({ session, name }) => {
        const election = new Election(session, name);
        const tried = await election.tryCampaign({ value: 'a' });
        if (!tried.elected) throw new Error('nobody else was there');
        await using leader = tried.leadership;
        await write(leader, name);
        // As if its object were gone; both have the term.
        await using again = await election.resume(leader);
        await write(again, name);
        await again.resign();
      },
      check: survives,
      checkHistory: fenced,
    },
  );

  holdsAtEveryPoint(
    suite,
    { points: 1 },
    {
      name: 'tryCampaign when another leads',
      prepare: ({ rival, name }) => new Election(rival.session, name).campaign({ value: 'rival' }),
      run: async ({ session, name }) => new Election(session, name).tryCampaign({ value: 'a' }),
      alongside: async ({ over }, rival) => {
        await fired(over);
        await rival.resign();
      },
      check: ({ ok, result, scene }) => {
        if (ok) expect(result).toMatchObject({ elected: false, leader: { term: scene.term, value: 'rival' } });
      },
      // A request that is late can enter after all, once the other is gone; then its key is taken away again.
      checkHistory: fenced,
    },
  );

  holdsAtEveryPoint(
    suite,
    { points: 8 },
    {
      name: 'every kind of call of leader.kv',
      run: async ({ session, name }) => {
        await using leader = await new Election(session, name).campaign();
        const kv = leader.kv.keyspace(`${name}-kv/`);
        // What one that was struck has left.
        await kv.delete({ all: true });
        const put = await kv.put('a', 'mine');
        expect(await kv.get('a')).toMatchObject({ value: 'mine', modRevision: put.revision });
        expect((await kv.range({ all: true })).kvs).toHaveLength(1);
        const done = await kv.txn({ then: [kv.op.put('b', 'mine'), kv.op.delete('a')] });
        expect((await kv.delete('b', { prevKv: true })).previous[0]!.modRevision).toBe(done.revision);
        await leader.resign();
      },
      mayStay: (key) => key.startsWith('-kv/'),
      checkHistory: fenced,
    },
  );

  holdsAtEveryPoint(
    suite,
    { points: 9 },
    {
      name: 'hand over to a candidate behind another',
      run: async (stage) => {
        const election = new Election(stage.session, stage.name);
        await using leader = await election.campaign({ value: 'a' });
        await write(leader, stage.name);
        await Promise.race([stage.entered(3), fired(leader.signal)]);
        const to = (await election.candidates()).find(({ value }) => value === 'named');
        leader.assertHeld();
        const handed = to !== undefined && (await leader.handOver(to, { timeoutMs: 5_000 }));
        if (!handed) await write(leader, stage.name);
        return handed;
      },
      alongside: async (stage) => {
        await stage.entered(1);
        const first = leadOnce(stage, 'between');
        await stage.entered(2);
        await Promise.all([first, leadOnce(stage, 'named')]);
      },
      check: async (ending, { rival, name }) => {
        survives(ending);
        if (ending.ok) expect(await rival.etcd.get(orderKey(`${name}/`))).toBeUndefined();
      },
      checkHistory: fenced,
    },
  );

  holdsAtEveryPoint(
    suite,
    { points: 8 },
    {
      name: 'step back for another, and lead after it',
      prepare: ({ rival, name }) => new Election(rival.session, name).campaign({ value: 'rival' }),
      run: async ({ session, name }) => {
        await using leader = await new Election(session, name).campaign({ value: 'between' });
        await write(leader, name);
        await leader.resign();
      },
      alongside: async (stage, rival) => {
        await stage.entered(2);
        await stage.watching(2);
        const named = leadOnce(stage, 'named');
        const election = new Election(stage.rival.session, stage.name);
        await stage.entered(3);
        const to = (await election.candidates()).find(({ value }) => value === 'named');
        if (to !== undefined) await rival.handOver(to).catch(() => false);
        await rival[Symbol.asyncDispose]();
        await named;
      },
      check: survives,
      checkHistory: fenced,
    },
  );

  holdsAtEveryPoint(
    suite,
    { points: 8 },
    {
      name: 'lead by callback, then by a latch',
      run: async ({ session, name }) => {
        const election = new Election(session, name);
        await election.run((leader) => write(leader, name));
        await using latch = election.latch();
        await write(await latch.elected(), name);
        await latch.close();
      },
      check: survives,
      checkHistory: fenced,
    },
  );

  const told = new Map<string, ElectionState[][]>();
  holdsAtEveryPoint(
    suite,
    { points: 2 },
    {
      name: 'observe',
      run: async ({ etcd, name }) => {
        const states: ElectionState[] = [];
        told.set(name, [...(told.get(name) ?? []), states]);
        for await (const state of new ElectionView(etcd, name).observe()) {
          states.push(state);
          if (state.kind === 'leader' && state.value === 'last') return;
        }
      },
      // Whose key an operator deletes: the leader's, so that there is a vacancy at this very moment.
      mine: () => true,
      alongside: async (stage) => {
        await stage.watching(1);
        const election = new Election(stage.rival.session, stage.name);
        for (const value of ['first', 'second', 'last']) {
          await using leader = await election.campaign({ value });
          await leader.proclaim(`${value}, again`).catch((error: unknown) => {
            if (!(error instanceof LostError)) throw error;
          });
          if (value !== 'last') continue;
          await using last = leader.held ? leader : await election.campaign({ value });
          await last.proclaim('last');
          await fired(stage.over);
        }
      },
      // It needs no session, so nothing that befalls one is its concern.
      check: ({ error }) => expect(error).toBeUndefined(),
      checkHistory: (events, stage) => {
        const reigns = reignsOf(events, `${stage.name}/`, 0n as never);
        for (const states of told.get(stage.name)!) {
          const end = reigns.findIndex(({ state }) => state.kind === 'leader' && state.revision >= lastOf(states));
          expectObserved(states, reigns.slice(0, end + 1));
        }
      },
    },
  );
});

/** The revision of the last leader that was told. */
function lastOf(states: readonly ElectionState[]): bigint {
  const last = states.at(-1);
  return last?.kind === 'leader' ? last.revision : 0n;
}
