import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Random, Sfc32 } from '../simulation/world/random.ts';
import { covers, type LogEntry } from './history.ts';
import { kv, logOf } from './support/build.ts';
import { Versions } from './versions.ts';
import { checkWatchers, type WatchEvent, type WatcherHistory, type WatchStep } from './watch-checker.ts';

// Revisions 2 to 8.
const log = logOf('a=1', 'b=1', 'a=2', '-a', 'a=3; b=2', 'c=1', '-[a,z)');
const versions = new Versions(log);

/** The events of these revisions, on any key or on one. */
function of(revisions: readonly number[], key?: string): WatchEvent[] {
  const entries = log.filter(({ revision }) => revisions.includes(revision));
  return entries.flatMap(({ events }) => events).filter((event) => key === undefined || event.kv.key === key);
}

function events(revisions: readonly number[], key?: string, revision = revisions.at(-1) ?? 0): WatchStep {
  return { kind: 'events', revision, events: of(revisions, key) };
}

const created: WatchStep = { kind: 'created', revision: 1 };
const resumed = (startRevision: number): WatchStep => ({ kind: 'resumed', startRevision });
const progress = (revision: number): WatchStep => ({ kind: 'progress', revision });
const all = { range: { key: 'a', end: 'z' } };

interface Case extends Omit<Partial<WatcherHistory>, 'name' | 'steps'> {
  readonly name: string;
  readonly steps: readonly WatchStep[];
  /** The rule that is broken. */
  readonly rule?: string;
}

const CASES: readonly Case[] = [
  { name: 'everything, in one answer', steps: [created, events([2, 3, 4, 5, 6, 7, 8])], completeTo: 8 },
  {
    name: 'everything, one by one',
    steps: [created, ...[2, 3, 4, 5, 6, 7, 8].map((one) => events([one]))],
    completeTo: 8,
  },
  { name: 'one key', range: { key: 'b' }, steps: [created, events([3, 6], 'b'), events([8], 'b')], completeTo: 8 },
  { name: 'nothing yet', steps: [created] },
  { name: 'never created', steps: [] },
  { name: 'without deletes', noDelete: true, steps: [created, events([2, 3, 4]), events([6, 7])], completeTo: 8 },
  { name: 'without puts', noPut: true, steps: [created, events([5]), events([8])], completeTo: 8 },
  {
    name: 'from the past',
    startRevision: 5,
    steps: [{ kind: 'created', revision: 8 }, events([5, 6, 7, 8])],
    completeTo: 8,
  },
  { name: 'from the future', startRevision: 7, steps: [created, events([7, 8])], completeTo: 8 },
  { name: 'from after its creation', steps: [{ kind: 'created', revision: 4 }, events([5])] },
  { name: 'less than there was time for', steps: [created, events([2, 3])], completeTo: 4, rule: 'gap' },
  { name: 'one left out', steps: [created, events([2, 3]), events([5])], rule: 'gap' },
  { name: 'one left out after a later start', startRevision: 5, steps: [created, events([6])], rule: 'gap' },
  {
    name: 'the last key of a revision left out',
    steps: [created, events([2, 3, 4, 5]), events([6], 'a'), events([7])],
    rule: 'split-revision',
  },
  {
    name: 'a revision in two answers',
    steps: [created, events([2, 3, 4, 5]), events([6], 'a'), events([6], 'b')],
    rule: 'split-revision',
  },
  {
    name: 'a revision in two fragments',
    steps: [
      created,
      { kind: 'events', revision: 6, events: [...of([2, 3, 4, 5]), ...of([6], 'a')], fragment: true },
      events([6], 'b'),
    ],
  },
  { name: 'one twice', steps: [created, events([2, 3]), events([3, 4])], rule: 'duplicate' },
  { name: 'the first one twice', steps: [created, events([2]), events([2, 3])], rule: 'duplicate' },
  { name: 'two revisions the wrong way round', steps: [created, events([3]), events([2])], rule: 'gap' },
  {
    name: 'two keys of a revision the wrong way round',
    steps: [created, events([2, 3, 4, 5]), { kind: 'events', revision: 6, events: of([6]).reverse() }],
    rule: 'order',
  },
  { name: 'from before its start', startRevision: 4, steps: [created, events([3, 4])], rule: 'before-start' },
  {
    name: 'another key',
    range: { key: 'b' },
    steps: [created, events([3])].concat(events([4])),
    rule: 'not-asked-for',
  },
  {
    name: 'a delete that is filtered',
    noDelete: true,
    steps: [created, events([2, 3, 4]), events([5])],
    rule: 'not-asked-for',
  },
  {
    name: 'what never happened',
    steps: [created, { kind: 'events', revision: 2, events: [{ type: 'put', kv: kv('x', '1', 2) }] }],
    rule: 'phantom-event',
  },
  {
    name: 'another value',
    steps: [created, { kind: 'events', revision: 2, events: [{ type: 'put', kv: kv('a', 'x', 2) }] }],
    rule: 'wrong-event',
  },
  {
    name: 'a put as a delete',
    steps: [created, { kind: 'events', revision: 2, events: [{ type: 'delete', kv: kv('a', '1', 2) }] }],
    rule: 'wrong-event',
  },
  { name: 'before it was created', startRevision: 2, steps: [events([2])], rule: 'before-created' },
  { name: 'a header that is behind', steps: [created, events([2, 3], undefined, 2)], rule: 'header-behind' },
  {
    name: 'progress',
    steps: [created, progress(1), events([2]), progress(2), events([3, 4], undefined, 8), progress(4)],
  },
  { name: 'progress on a quiet key', range: { key: 'c' }, steps: [created, progress(6), events([7], 'c')] },
  {
    name: 'progress of a member that is behind',
    range: { key: 'c' },
    steps: [created, progress(5), resumed(6), created, progress(4)],
  },
  {
    name: 'progress ahead of an event',
    range: { key: 'c' },
    steps: [created, progress(7), events([7], 'c')],
    rule: 'progress-ahead',
  },
  { name: 'progress that nobody made', range: { key: 'x' }, steps: [created, progress(9)], rule: 'progress-ahead' },
  {
    name: 'progress that goes back',
    range: { key: 'c' },
    steps: [created, progress(5), progress(4)],
    rule: 'progress-back',
  },
  { name: 'progress that is behind an event', steps: [created, events([2, 3]), progress(2)], rule: 'progress-back' },
  {
    name: 'goes on after a break',
    steps: [
      created,
      events([2, 3]),
      resumed(4),
      created,
      events([4, 5]),
      { kind: 'canceled' },
      resumed(6),
      created,
      events([6]),
    ],
  },
  {
    name: 'goes on after progress',
    range: { key: 'c' },
    steps: [created, progress(6), resumed(7), created, events([7], 'c')],
  },
  {
    name: 'goes on before progress',
    range: { key: 'c' },
    steps: [created, progress(6), resumed(3), created, events([7], 'c')],
  },
  {
    name: 'goes on after half an answer',
    steps: [
      created,
      { kind: 'events', revision: 8, events: of([2, 3]), fragment: true },
      resumed(2),
      created,
      events([2, 3, 4]),
    ],
  },
  { name: 'asks again before it was created', steps: [resumed(0), created, events([2])] },
  { name: 'goes on from a header', steps: [created, events([2], undefined, 4), resumed(5)], rule: 'resume-skips' },
  { name: 'goes on from now', steps: [created, events([2]), resumed(0)], rule: 'resume-skips' },
  { name: 'goes on from now, before any event', steps: [created, resumed(0)], rule: 'resume-skips' },
  { name: 'goes on at what it had', steps: [created, events([2, 3]), resumed(3)], rule: 'resume-repeats' },
  {
    name: 'goes on and gets one twice',
    steps: [created, events([2, 3]), resumed(4), created, events([3, 4])],
    rule: 'duplicate',
  },
  { name: 'goes on and misses one', steps: [created, events([2, 3]), resumed(4), created, events([5])], rule: 'gap' },
  { name: 'something after its end', steps: [created, { kind: 'canceled' }, events([2])], rule: 'after-end' },
  {
    name: 'a compaction, and a new start',
    steps: [created, events([2]), { kind: 'canceled', compactRevision: 6 }, resumed(7), created, events([7, 8])],
    completeTo: 8,
  },
  {
    name: 'a compaction, and a start before it',
    steps: [created, events([2]), { kind: 'canceled', compactRevision: 6 }, resumed(5)],
    rule: 'resume-compacted',
  },
  {
    name: 'a compaction of what it had',
    steps: [created, events([2, 3, 4, 5]), { kind: 'canceled', compactRevision: 6 }],
    rule: 'compaction',
  },
  {
    name: 'a compaction that nobody asked for',
    steps: [created, { kind: 'canceled', compactRevision: 5 }],
    rule: 'compaction',
  },
  {
    name: 'the versions before',
    prevKv: true,
    startRevision: 7,
    steps: [created, { kind: 'events', revision: 8, events: withPrevious(of([7, 8])) }],
  },
  {
    name: 'the versions before, which are compacted',
    prevKv: true,
    startRevision: 6,
    steps: [created, events([6])],
  },
  {
    name: 'a version before that is missing',
    prevKv: true,
    startRevision: 8,
    steps: [created, events([8])],
    rule: 'prev-kv',
  },
  {
    name: 'a version before that is another',
    prevKv: true,
    startRevision: 8,
    steps: [
      created,
      {
        kind: 'events',
        revision: 8,
        events: withPrevious(of([8])).map((one) => ({ ...one, prevKv: kv('b', '1', 3) })),
      },
    ],
    rule: 'prev-kv',
  },
  {
    name: 'a version before that it did not ask for',
    startRevision: 8,
    steps: [created, { kind: 'events', revision: 8, events: withPrevious(of([8])) }],
    rule: 'prev-kv',
  },
];

function withPrevious(given: readonly WatchEvent[]): WatchEvent[] {
  return given.map((event) => ({ ...event, prevKv: versions.at(event.kv.modRevision - 1)?.get(event.kv.key) }));
}

describe('a watcher', () => {
  it.each(CASES)('$name', ({ rule, ...watcher }) => {
    const findings = checkWatchers({ log, compactions: [6] }, [{ ...all, ...watcher }]);
    expect(findings.map((finding) => finding.rule)).toEqual(rule === undefined ? [] : [rule]);
  });

  it('is named, with the revision and what was wrong', () => {
    const steps = [created, events([2, 3]), events([5])];
    const [finding] = checkWatchers({ log }, [{ name: 'w1', ...all, steps }]);
    expect(finding).toMatchObject({ watcher: 'w1', revision: 5 });
    expect(finding?.message).toBe(
      'watcher w1 on [a, z): got delete a of revision 5 before, or without, put a = "2" of revision 4',
    );
  });

  it('starts from a store that held something', () => {
    const start = { revision: 10, kvs: [kv('a', '1', 9)] };
    const put = { ...kv('a', '2', 11), createRevision: 9, version: 2 };
    const later: LogEntry[] = [{ revision: 11, events: [{ type: 'put', kv: put }] }];
    const told = [{ type: 'put' as const, kv: put, prevKv: kv('a', '1', 9) }];
    const steps: WatchStep[] = [
      { kind: 'created', revision: 10 },
      { kind: 'events', revision: 11, events: told },
    ];
    expect(checkWatchers({ log: later, start }, [{ name: 'w', ...all, prevKv: true, steps, completeTo: 11 }])).toEqual(
      [],
    );
  });
});

/** What a watcher is told that loses its stream now and then, of a log of its own. */
function makeWatch(random: Random): { truth: { log: LogEntry[] }; watcher: WatcherHistory } {
  const texts = Array.from({ length: 30 }, (_, id) =>
    random.pick([`a=${id}`, `b=${id}`, `a=${id}; b=${id}; c=${id}`, '-a', '-[a,z)']),
  );
  const made = logOf(...texts);
  const state = new Versions(made);
  const range = random.pick([{ key: 'a' }, { key: 'a', end: 'c' }, { key: '\0', end: '\0' }]);
  const wanted = (entry: LogEntry | undefined): WatchEvent[] =>
    (entry?.events ?? [])
      .filter(({ kv: { key } }) => covers(range, key))
      .map((event) => ({ ...event, prevKv: state.at(event.kv.modRevision - 1)?.get(event.kv.key) }));
  const startRevision = random.between(1, state.lastRevision);
  const steps: WatchStep[] = [{ kind: 'created', revision: state.lastRevision }];
  let known = startRevision - 1;
  let delivered = known;
  // What the client may go by: more than it has been given, never more than it was told.
  let told = known;
  while (known < state.lastRevision) {
    const to = random.between(known + 1, Math.min(known + 4, state.lastRevision));
    const batch: WatchEvent[] = [];
    for (let revision = known + 1; revision <= to; revision += 1) batch.push(...wanted(state.entry(revision)));
    const last = batch.at(-1)?.kv.modRevision ?? 0;
    const cut = random.below(batch.length + 1);
    if (random.chance(0.2)) {
      if (random.chance(0.5)) steps.push({ kind: 'events', revision: to, events: batch.slice(0, cut), fragment: true });
      const from = random.between(delivered, told) + 1;
      steps.push({ kind: 'resumed', startRevision: from }, { kind: 'created', revision: to });
      known = from - 1;
      told = known;
      continue;
    }
    if (random.chance(0.3)) steps.push({ kind: 'events', revision: to, events: batch.splice(0, cut), fragment: true });
    if (batch.length > 0 || steps.at(-1)?.kind === 'events')
      steps.push({ kind: 'events', revision: to, events: batch });
    known = to;
    delivered = Math.max(delivered, last);
    told = Math.max(told, delivered);
    if (!random.chance(0.3)) continue;
    steps.push({ kind: 'progress', revision: to });
    told = to;
  }
  const completeTo = state.lastRevision;
  return { truth: { log: made }, watcher: { name: 'w', range, startRevision, prevKv: true, steps, completeTo } };
}

/** Changes the events of one answer, if there is one that has enough. */
function strike(
  random: Random,
  watcher: WatcherHistory,
  change: (all: WatchEvent[]) => WatchEvent[],
): WatcherHistory | undefined {
  // What is lost with its stream may be anything.
  const kept = watcher.steps.filter((step, index) => {
    const rest = watcher.steps
      .slice(index)
      .find((next) => next.kind === 'resumed' || (next.kind === 'events' && !next.fragment));
    return step.kind === 'events' && step.events.length > 1 && rest?.kind === 'events';
  });
  if (kept.length === 0) return undefined;
  const victim = random.pick(kept);
  const steps = watcher.steps.map((step) =>
    step === victim && step.kind === 'events' ? { ...step, events: change([...step.events]) } : step,
  );
  return { ...watcher, steps };
}

describe('watchers of a simulated store', () => {
  const strikes: Readonly<Record<string, (all: WatchEvent[], random: Random) => WatchEvent[]>> = {
    'one is lost': (events, random) => events.toSpliced(random.below(events.length), 1),
    'one comes twice': (events, random) => {
      const at = random.below(events.length);
      return events.toSpliced(at, 0, events[at] as WatchEvent);
    },
    'two are swapped': (events) => [events[1] as WatchEvent, events[0] as WatchEvent, ...events.slice(2)],
    'a value is another': ([first, ...rest]) => [{ ...first, kv: { ...first?.kv, value: 'x' } } as WatchEvent, ...rest],
    'a version before is another': ([first, ...rest]) => [{ ...first, prevKv: kv('a', 'x', 1) } as WatchEvent, ...rest],
  };

  it('are sound as long as the store is', () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const { truth, watcher } = makeWatch(new Sfc32(seed));
        expect(checkWatchers(truth, [watcher])).toEqual([]);
      }),
      { numRuns: 500 },
    );
  });

  it.each(Object.entries(strikes))('are not when %s', (_name, change) => {
    let struck = 0;
    const found = fc.property(fc.integer(), (seed) => {
      const random = new Sfc32(seed);
      const { truth, watcher } = makeWatch(random);
      const wrong = strike(random, watcher, (all) => change(all, random));
      if (wrong === undefined) return;
      struck += 1;
      expect(checkWatchers(truth, [wrong])).toHaveLength(1);
    });
    fc.assert(found, { numRuns: 300 });
    expect(struck).toBeGreaterThan(100);
  });
});
