/** The judge, on histories whose verdict is known. */
import { describe, expect, it } from 'vitest';
import type { History, Life, Observer, Span } from './history.ts';
import { latencies } from './latency.ts';
import { deadline, judge } from './verdict.ts';

/** A lease of 5 s, ended by 6 s; news takes up to 1 s, and a way that was broken is there again after 2 s. */
const ALLOWANCES = { ttlMs: 5_000, expiryMs: 1_000, propagationMs: 1_000, reconnectMs: 2_000 };

/** One that was registered at 1 s. */
function life(id: string, more: Partial<Life> = {}): Life {
  return { id, service: 's', beganAt: 900, readyAt: 1_000, ...more };
}

/** An observer from 0 to 60 s, which saw `a` from 1.1 s on unless it is told otherwise. */
function observer(more: Partial<Observer> = {}): Observer {
  const sightings = [{ id: 'a', at: 1_100, listed: true }];
  return { name: 'eye', from: 0, until: 60_000, sightings, picks: [], follows: [], cuts: [], ...more };
}

function history(one: Life, eye: Partial<Observer> = {}, outages: readonly Span[] = []): History {
  return { lives: new Map([[one.id, one]]), observers: [observer(eye)], outages };
}

/** Seen from 1.1 s to `at`. */
function seenUntil(at: number): Pick<Observer, 'sightings'> {
  return {
    sightings: [
      { id: 'a', at: 1_100, listed: true },
      { id: 'a', at, listed: false },
    ],
  };
}

function found(one: History): Record<string, number> {
  const counts = Object.entries(judge(one, ALLOWANCES)).map(([what, list]) => [what, list.length]);
  return Object.fromEntries(counts.filter(([, count]) => count !== 0)) as Record<string, number>;
}

const killed = life('a', { goneAt: 10_000, how: 'killed' });
const drained = life('a', { drainsAt: 9_500, goneAt: 10_000, how: 'drained' });
const picked = (at: number): Partial<Observer> => ({ ...seenUntil(at + 1), picks: [{ id: 'a', at }] });

describe('requests to those that are gone', () => {
  it.each([
    ['one that was killed, within its lease and a propagation', killed, 17_000, [], 0],
    ['one that was killed, later', killed, 17_001, [], 1],
    ['one that was drained, within a propagation', drained, 11_000, [], 0],
    ['one that was drained, later', drained, 11_001, [], 1],
    ['one that was killed, at that moment', killed, 10_000, [], 0],
  ])('%s', (_name, one, at, outages: Span[], strays) => {
    expect(found(history(one, picked(at), outages))).toEqual(strays ? { strays } : {});
  });

  it('count from the end of an outage that began before the lease was over', () => {
    const outages = [{ from: 15_000, until: 30_000 }];
    expect(found(history(killed, picked(29_000), outages))).toEqual({});
    expect(found(history(killed, picked(37_000), outages))).toEqual({});
    expect(found(history(killed, picked(39_100), outages))).toEqual({ strays: 1 });
    // The same for one that wanted to say that it goes, and could not.
    expect(
      found(history(life('a', { drainsAt: 15_100, goneAt: 15_600, how: 'drained' }), picked(37_000), outages)),
    ).toEqual({});
  });

  it('do not count anew for an outage that was over before, or began long after', () => {
    expect(found(history(killed, picked(17_100), [{ from: 2_000, until: 7_000 }]))).toEqual({ strays: 1 });
    expect(found(history(killed, picked(21_000), [{ from: 20_000, until: 22_000 }]))).toEqual({ strays: 1 });
  });

  it('count from the end of a cut for the observer that was cut off, without a new lease', () => {
    const cuts = [{ from: 9_000, until: 20_000 }];
    expect(found(history(killed, { ...picked(23_000), cuts }))).toEqual({});
    expect(found(history(killed, { ...picked(23_001), cuts }))).toEqual({ strays: 1 });
    expect(found(history(drained, { ...picked(23_001), cuts }))).toEqual({ strays: 1 });
  });

  it('are strays when nobody ever had the id', () => {
    expect(found(history(life('a'), { picks: [{ id: 'ghost', at: 5_000 }] }))).toEqual({ strays: 1 });
  });
});

describe('healthy instances', () => {
  it('are in the list one propagation after they were registered', () => {
    expect(found(history(life('a'), { sightings: [{ id: 'a', at: 2_000, listed: true }] }))).toEqual({});
    expect(found(history(life('a'), { sightings: [{ id: 'a', at: 2_001, listed: true }] }))).toEqual({ missing: 1 });
    expect(found(history(life('a'), { sightings: [] }))).toEqual({ missing: 1 });
  });

  it('never leave it while they live, an outage or not', () => {
    const gap = [
      { id: 'a', at: 1_100, listed: true },
      { id: 'a', at: 20_000, listed: false },
      { id: 'a', at: 20_001, listed: true },
    ];
    expect(found(history(life('a'), { sightings: gap }))).toEqual({ missing: 1 });
    expect(found(history(life('a'), { sightings: gap }, [{ from: 15_000, until: 30_000 }]))).toEqual({ missing: 1 });
    expect(found(history(life('a'), seenUntil(50_000)))).toEqual({ missing: 1 });
    const soon = [...seenUntil(1_500).sightings, { id: 'a', at: 1_600, listed: true }];
    expect(found(history(life('a'), { sightings: soon }))).toEqual({ missing: 1 });
  });

  it('may leave it from when they drain on, and not before', () => {
    expect(found(history(drained, seenUntil(9_501)))).toEqual({});
    expect(found(history(drained, seenUntil(9_499)))).toEqual({ missing: 1 });
  });

  it('may come to the list of one who could not see the store when it is back', () => {
    const late = { sightings: [{ id: 'a', at: 13_000, listed: true }] };
    const dark = { from: 500, until: 10_000 };
    expect(found(history(life('a'), late, [dark]))).toEqual({});
    expect(found(history(life('a'), { ...late, cuts: [dark] }))).toEqual({});
    expect(found(history(life('a'), late, [{ from: 500, until: 9_999 }]))).toEqual({ missing: 1 });
  });

  it('are looked for while the observer is there, and only then', () => {
    expect(found(history(life('a'), { sightings: [], until: 1_900 }))).toEqual({});
    expect(found(history(killed, { sightings: [], until: 1_900 }))).toEqual({});
    expect(found(history(life('a'), { sightings: [{ id: 'a', at: 6_000, listed: true }], from: 5_000 }))).toEqual({});
    expect(found(history(life('a'), { sightings: [{ id: 'a', at: 6_001, listed: true }], from: 5_000 }))).toEqual({
      missing: 1,
    });
    expect(found(history(life('a'), { from: undefined }))).toEqual({ missing: 1 });
    expect(found(history(life('a', { readyAt: undefined }), { sightings: [] }))).toEqual({});
  });
});

describe('observers', () => {
  const follows = (backAt: number) => ({
    follows: [
      { at: 10_100, following: false },
      { at: backAt, following: true },
    ],
  });

  it('follow again when the store is back', () => {
    const outages = [{ from: 10_000, until: 20_000 }];
    expect(found(history(life('a'), follows(23_000), outages))).toEqual({});
    expect(found(history(life('a'), follows(23_001), outages))).toEqual({ behind: 1 });
    expect(found(history(life('a'), { follows: follows(0).follows.slice(0, 1) }, outages))).toEqual({ behind: 1 });
    expect(found(history(life('a'), follows(13_101)))).toEqual({ behind: 1 });
  });

  it('have nobody in their lists in the end that is gone', () => {
    expect(found(history(killed))).toEqual({ leftovers: 1 });
    expect(found(history(killed, { until: 16_000 }))).toEqual({});
    expect(found(history(killed, seenUntil(16_000)))).toEqual({});
    expect(found(history(life('b'), { until: 1_500 }))).toEqual({ leftovers: 1 });
  });
});

it('begins anew after each outage that falls into what takes a while', () => {
  const outages = [
    { from: 50, until: 200 },
    { from: 220, until: 300 },
    { from: 1_000, until: 2_000 },
  ];
  expect(deadline(0, 100, outages, 10)).toBe(410);
  expect(deadline(0, 40, outages, 10)).toBe(40);
  expect(deadline(205, 10, outages, 10)).toBe(320);
});

it('measures how long news took, but not through an outage, and of each instance once', () => {
  const sightings = [
    { id: 'a', at: 1_100, listed: true },
    { id: 'a', at: 16_000, listed: false },
    { id: 'a', at: 16_500, listed: true },
    { id: 'a', at: 17_000, listed: false },
  ];
  const follows = [
    { at: 30_100, following: false },
    { at: 40_250, following: true },
    { at: 52_000, following: false },
    { at: 53_000, following: true },
  ];
  const outages = [
    { from: 30_000, until: 40_000 },
    { from: 50_000, until: 51_000 },
  ];
  const measured = latencies(history(killed, { sightings, follows }, outages), 0);
  expect(measured.registerToSeen).toEqual({ count: 1, p50: 200, p99: 200, max: 200 });
  expect(measured.killToUnseen).toEqual({ count: 1, p50: 6_000, p99: 6_000, max: 6_000 });
  expect(measured.drainToUnseen.count).toBe(0);
  expect(measured.backToFollowing).toEqual({ count: 1, p50: 250, p99: 250, max: 250 });
  expect(latencies(history(killed, { sightings }, [{ from: 12_000, until: 13_000 }]), 0).killToUnseen.count).toBe(0);
  expect(latencies(history(killed, { sightings }), 950).registerToSeen.count).toBe(0);
  const gone = latencies(history(drained, seenUntil(9_600)), 0);
  expect(gone.drainToUnseen).toMatchObject({ count: 1, p50: 100 });
});
