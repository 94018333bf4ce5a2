/** The counter, ids, members and partitions, struck by every fault at every await point. */
import { expect } from 'vitest';
import { Counter } from '../../recipes/counter.ts';
import { IdAllocator } from '../../recipes/id-allocator.ts';
import { Group } from '../../recipes/membership/group.ts';
import type { Member } from '../../recipes/membership/member.ts';
import { Membership } from '../../recipes/membership/membership.ts';
import { type PartitionClaim, Partitions } from '../../recipes/membership/partitions.ts';
import type { Session } from '../../recipes/session.ts';
import { describeOnRealEtcd } from '../support/fixtures.ts';
import { giveUp, unknownAfter } from './await-point-endings.ts';
import { holdsAtEveryPoint, type KeyEvent, type Stage } from './await-points.ts';
import { fired, outcome, until, untilEmpty } from './lock-bed.ts';

describeOnRealEtcd('Counter and ids at every await point', (suite) => {
  const mayStay = (key: string): boolean => key === 'value';

  holdsAtEveryPoint<void, { sum: bigint; added: bigint }>(
    suite,
    { points: 3 },
    {
      name: 'add, while another adds',
      prepare: async ({ rival, name }) => ({ sum: await new Counter(rival.session, name).get(), added: 0n }),
      run: async ({ session, name }, scene) => {
        const counter = new Counter(session, name);
        for (const by of [1n, 10n, 100n]) {
          await counter.add(by);
          scene.added += by;
        }
      },
      alongside: async ({ rival, name, over }, scene) => {
        const counter = new Counter(rival.session, name);
        for (let n = 0; n < 5 && !over.aborted; n++) {
          await counter.add(1_000n);
          scene.sum += 1_000n;
        }
      },
      check: async (ending, { rival, name }) => {
        const unknown = unknownAfter(ending);
        const { added } = ending.scene;
        const steps = [0n, 1n, 11n, 111n];
        const may = unknown ? [added, steps[steps.indexOf(added) + 1]] : [added];
        // The rival may still be at it.
        await until(async () => {
          const value = await new Counter(rival.session, name).get();
          return may.includes(value - ending.scene.sum);
        });
      },
      mayStay,
    },
  );

  holdsAtEveryPoint<void, { value: bigint }>(
    suite,
    { points: 4 },
    {
      // What compares the value alone takes a late request for a new one.
      name: 'add up and down, so that the value comes back',
      prepare: async () => ({ value: 0n }),
      run: async ({ session, name }, scene) => {
        const counter = new Counter(session, name);
        for (const by of [1n, -1n, 1n, -1n]) {
          await counter.add(by);
          scene.value += by;
        }
      },
      check: async (ending, { rival, name }) => {
        const unknown = unknownAfter(ending);
        const { value } = ending.scene;
        const counter = new Counter(rival.session, name);
        expect(unknown ? [0n, 1n] : [value]).toContain(await counter.get());
        await counter.set(0n);
      },
      mayStay,
    },
  );

  holdsAtEveryPoint<void, { readonly ids: bigint[] }>(
    suite,
    { points: 2 },
    {
      name: 'ids from blocks, and a range',
      prepare: async () => ({ ids: [] }),
      run: async ({ session, name }, { ids }) => {
        const allocator = new IdAllocator(session, name, { blockSize: 2 });
        for (let n = 0; n < 4; n++) ids.push(await allocator.next());
        const { first } = await allocator.range(2);
        ids.push(first, first + 1n);
      },
      alongside: async ({ rival, name, over }, { ids }) => {
        const allocator = new IdAllocator(rival.session, name, { blockSize: 3 });
        for (let n = 0; n < 6 && !over.aborted; n++) ids.push(await allocator.next());
      },
      check: (ending) => {
        unknownAfter(ending);
        const { ids } = ending.scene;
        expect(new Set(ids).size).toBe(ids.length);
      },
      mayStay,
    },
  );
});

/** What the actor's keys have said, each time in the order in which it was said. */
function expectNothingTakenBack(events: readonly KeyEvent[], { prefix }: Stage): void {
  const last = new Map<string, number>();
  for (const { type, key, value } of events) {
    if (type !== 'put' || !key.startsWith(`${prefix}members/`)) continue;
    expect(Number(value)).toBeGreaterThanOrEqual(last.get(key) ?? 0);
    last.set(key, Number(value));
  }
  expect(last.size).toBeGreaterThan(0);
}

describeOnRealEtcd('Members at every await point', (suite) => {
  const nobodyLeft = async ({ rival, name, prefix }: Stage): Promise<void> => {
    await untilEmpty(rival.etcd, `${prefix}members/`);
    expect(await new Group(rival.etcd, name).members()).toEqual([]);
  };

  holdsAtEveryPoint<void, void>(
    suite,
    { points: 5 },
    {
      name: 'join, say this and that, leave',
      run: async ({ session, name }) => {
        await using me = await new Membership(session, name).join({ id: 'me', data: '1' });
        for (const data of ['2', '3', '4']) await me.update(data);
        expect(me.data).toBe('4');
        await me.leave();
      },
      check: async (ending, stage) => {
        unknownAfter(ending);
        await nobodyLeft(stage);
      },
      checkHistory: expectNothingTakenBack,
    },
  );

  holdsAtEveryPoint<void, { member?: Member<string> }>(
    suite,
    { points: 3 },
    {
      name: 'join and stay',
      prepare: async () => ({}),
      run: async ({ session, name }, scene) => {
        scene.member = await new Membership(session, name).join({ id: 'me', data: '1' });
        await scene.member.update('2');
      },
      check: async (ending, { rival, name }) => {
        unknownAfter(ending);
        const { member } = ending.scene;
        const group = new Group(rival.etcd, name);
        // It comes back under another key when an operator has deleted its own, unless its lease is gone too.
        await until(async () => {
          if (member === undefined || member.signal.aborted) return true;
          return member.present && (await group.members()).map(({ data }) => data).join() === member.data;
        });
        await member?.leave();
        await until(async () => (await group.members()).length === 0);
      },
      checkHistory: expectNothingTakenBack,
    },
  );

  holdsAtEveryPoint<void, Member<string>>(
    suite,
    { points: 4 },
    {
      name: 'wait for an id, and have it',
      prepare: ({ rival, name }) => new Membership(rival.session, name).join({ id: 'me', data: '1' }),
      run: async ({ session, name }) => {
        await using me = await new Membership(session, name).join({ id: 'me', data: '2' });
        await me.leave();
      },
      alongside: async ({ watching }, first) => {
        // The actor's two, for its turn.
        await watching(2);
        await first.leave();
      },
      check: async (ending, stage) => {
        unknownAfter(ending);
        await nobodyLeft(stage);
      },
    },
  );

  holdsAtEveryPoint<void, Member<string>>(
    suite,
    { points: 3 },
    {
      name: 'wait for an id, and give up',
      prepare: ({ rival, name }) => new Membership(rival.session, name).join({ id: 'me', data: '1' }),
      run: ({ watching, session, name }) =>
        giveUp({ watching }, 2, (signal) => new Membership(session, name).join({ id: 'me', data: '2', signal })),
      check: async (ending, stage) => {
        unknownAfter(ending);
        await ending.scene.leave();
        await nobodyLeft(stage);
      },
    },
  );
});

/** Writes the claim's token where its partition's work is, and again when nobody knows whether that was done. */
async function write(claim: PartitionClaim, name: string): Promise<boolean> {
  for (;;) {
    const { error } = await outcome(claim.kv.put(`${name}-data/${claim.partition}`, String(claim.token)));
    if (error === undefined) return true;
    if ((error as { applied?: string }).applied !== 'maybe') return false;
  }
}

/** Takes part until its share was worked on, or the signal fires. */
async function takePart(session: Session, name: string, id: string, enough: number, over?: AbortSignal) {
  const stop = new AbortController();
  const worked = new Set<string>();
  const signal = over === undefined ? stop.signal : AbortSignal.any([stop.signal, over]);
  const { error } = await outcome(
    new Partitions(session, name, { partitions: 3 }).run(
      async (claim, end) => {
        if (await write(claim, name)) worked.add(claim.partition);
        if (worked.size >= enough) stop.abort();
        await fired(end);
      },
      { id, signal },
    ),
  );
  if (!signal.aborted) throw error;
}

/** No partition has two claims at a revision, and each write was made under the partition's own. */
function expectOneOwnerAtATime(events: readonly KeyEvent[], { name }: Stage): void {
  const owners = new Map<string, KeyEvent>();
  let writes = 0;
  for (const event of events) {
    const [, claim] = event.key.split(`${name}/claims/`);
    const partition = claim?.split('/')[0];
    if (partition !== undefined) {
      const owner = owners.get(partition);
      if (event.type === 'delete' && owner?.key === event.key) owners.delete(partition);
      if (event.type === 'put') {
        expect([partition, owner?.key ?? event.key]).toEqual([partition, event.key]);
        owners.set(partition, event);
      }
    }
    const [, written] = event.key.split(`${name}-data/`);
    if (written === undefined || event.type === 'delete') continue;
    expect(String(owners.get(written)?.createRevision)).toBe(event.value);
    writes += 1;
  }
  expect(writes).toBeGreaterThan(0);
}

describeOnRealEtcd('Partitions at every await point', (suite) => {
  const mayStay = (key: string): boolean => key.startsWith('-data/');
  const nothingLeft = ({ rival, prefix }: Stage): Promise<void> => untilEmpty(rival.etcd, prefix);

  holdsAtEveryPoint<void, void>(
    suite,
    { points: 6 },
    {
      name: 'take part alone, work, and go',
      run: ({ session, name }) => takePart(session, name, 'actor', 3),
      check: async (ending, stage) => {
        unknownAfter(ending);
        await nothingLeft(stage);
      },
      checkHistory: expectOneOwnerAtATime,
      mayStay,
    },
  );

  holdsAtEveryPoint<void, void>(
    suite,
    { points: 5 },
    {
      name: 'take a share over from another, work, and go',
      // What a stalled actor had is given to others when its lease has run out.
      ttlSeconds: 4,
      run: async (stage) => {
        await stage.entered(4);
        await takePart(stage.session, stage.name, 'actor', 1);
      },
      alongside: ({ rival, name, over }) => takePart(rival.session, name, 'rival', 4, over),
      check: async (ending, stage) => {
        unknownAfter(ending);
        await nothingLeft(stage);
      },
      checkHistory: expectOneOwnerAtATime,
      mayStay,
    },
  );
});
