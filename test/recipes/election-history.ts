/** What the history of an election's keys says of who led when, and what observers and leaders must have seen of it. */
import { expect } from 'vitest';
import type { ElectionState } from '../../recipes/election/view.ts';
import { isParticipant } from '../../recipes/names.ts';
import type { ChangeEvent, KeyValue, Revision } from '../../src/index.ts';
import type { KeyEvent } from './await-point-history.ts';

/** How the election stood from a revision on, until the next. */
export interface Reign {
  readonly from: Revision;
  readonly state: ElectionState;
}

/** The events as the await points' history has them. */
export function toKeyEvents(events: readonly ChangeEvent[]): KeyEvent[] {
  return events.map(({ type, kv, revision }) => ({
    type,
    key: kv.key,
    revision,
    value: type === 'put' ? kv.value : '',
    createRevision: type === 'put' ? kv.createRevision : (0n as Revision),
    lease: type === 'put' ? kv.lease : undefined,
  }));
}

/** How the election stood, at every revision that changed it. `since`: when nobody was there yet. */
export function reignsOf(events: readonly KeyEvent[], prefix: string, since: Revision): Reign[] {
  const places = new Map<string, KeyEvent>();
  const reigns: Reign[] = [{ from: since, state: { kind: 'vacant', revision: since } }];
  for (const [index, event] of events.entries()) {
    if (!event.key.startsWith(prefix)) continue;
    if (event.type === 'put' && isParticipant(event as unknown as KeyValue<unknown>, prefix)) {
      places.set(event.key, event);
    } else {
      places.delete(event.key);
    }
    // What one transaction does is seen as one.
    if (events[index + 1]?.revision === event.revision) continue;
    const state = standing([...places.values()], event.revision);
    if (!isSame(reigns.at(-1)!.state, state)) reigns.push({ from: event.revision, state });
  }
  return reigns;
}

/** Nobody leads in a term that is not greater than all before. */
export function expectGrowingTerms(reigns: readonly Reign[]): void {
  let last = 0n;
  for (const { state } of reigns) {
    if (state.kind === 'vacant') continue;
    expect(state.term, 'a term that goes back').toBeGreaterThanOrEqual(last);
    last = state.term;
  }
}

/**
 * What an observer was told is how things stood, in that order, and in the end how they stand. It may have missed some:
 * a reader that was away is told the newest. Returns how many of the reigns it was told.
 */
export function expectObserved(told: readonly ElectionState[], reigns: readonly Reign[]): number {
  let at = 0;
  for (const [index, state] of told.entries()) {
    const found = reigns.findIndex((reign, n) => n >= at && isTold(state, reign, reigns[n + 1]?.from));
    expect(found, `told as number ${index}, but was not so then: ${show(state)}`).toBeGreaterThanOrEqual(0);
    at = found + 1;
  }
  expect(at, 'the last that was told is the last there was').toBe(reigns.length);
  return told.length;
}

function standing(places: readonly KeyEvent[], revision: Revision): ElectionState {
  const [oldest] = [...places].sort((a, b) => (a.createRevision < b.createRevision ? -1 : 1));
  if (oldest === undefined) return { kind: 'vacant', revision };
  return {
    kind: 'leader',
    key: oldest.key,
    term: oldest.createRevision,
    value: oldest.value,
    revision: oldest.revision,
  };
}

function isSame(a: ElectionState, b: ElectionState): boolean {
  return a.kind === 'leader' && b.kind === 'leader' ? show(a) === show(b) : a.kind === b.kind;
}

/** A vacancy is told with the revision at which it was seen, which can be later than its beginning. */
function isTold(told: ElectionState, { from, state }: Reign, until: Revision | undefined): boolean {
  if (told.kind === 'leader') return isSame(told, state);
  return state.kind === 'vacant' && told.revision >= from && (until === undefined || told.revision < until);
}

function show(state: ElectionState): string {
  return state.kind === 'vacant' ? 'vacant' : [state.key, state.term, state.value, state.revision].join(' ');
}
