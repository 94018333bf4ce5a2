/**
 * The order of time: what was answered before something else was called comes before it.
 *
 * A write stands at its revision, everything else right after the revision of its answer. So of two operations of which
 * one is over before the other is called, the second one's revision is not below the first one's, and above it if the
 * second one writes. That is all that time asks for: what it leaves open is concurrent, and reads of one revision do
 * not see of each other which came first.
 *
 * A serializable read may be of any time before, so nothing that is over bounds it; but what it has seen, nobody who
 * calls later may miss.
 */
import { describeOperation } from './describe.ts';
import type { Answered, HistoryFinding } from './history.ts';

/** An operation that was answered, and where it stands. */
export interface Placed {
  readonly operation: Answered;
  readonly revision: number;
  /** Whether it has made that revision. */
  readonly writes: boolean;
  readonly serializable: boolean;
}

/** Finds what was called after an answer that has seen more. In O(n log n). */
export function checkRealTime(placed: readonly Placed[]): HistoryFinding[] {
  const bounded = placed.filter(({ serializable }) => !serializable);
  return sweep(placed, bounded, (late, seen) => ({
    rule: late.writes ? 'write-order' : 'stale-read',
    message:
      `${describeOperation(late.operation)} was called after the answer to ${describeOperation(seen.operation)}, ` +
      `so it ${late.writes ? 'has to be after' : 'must not be before'} revision ${seen.revision}`,
    operations: [seen.operation, late.operation],
  }));
}

/** Finds runs of members that have told of less than they had told before. */
export function checkSessions(placed: readonly Placed[]): HistoryFinding[] {
  const sessions = new Map<string, Placed[]>();
  for (const one of placed) {
    const { session } = one.operation;
    if (session === undefined) continue;
    const others = sessions.get(session);
    if (others === undefined) sessions.set(session, [one]);
    else others.push(one);
  }
  return [...sessions].flatMap(([session, members]) =>
    // That a write comes after is for all to hold, and is checked there.
    sweep(members, members, (late, seen) =>
      late.revision >= seen.revision
        ? undefined
        : {
            rule: 'session-goes-back',
            message: `${session} told ${describeOperation(seen.operation)} and later ${describeOperation(late.operation)}`,
            operations: [seen.operation, late.operation],
          },
    ),
  );
}

function sweep(
  seen: readonly Placed[],
  bounded: readonly Placed[],
  finding: (late: Placed, seen: Placed) => HistoryFinding | undefined,
): HistoryFinding[] {
  const returns = [...seen].sort((a, b) => a.operation.returnedAt - b.operation.returnedAt);
  const calls = [...bounded].sort((a, b) => a.operation.calledAt - b.operation.calledAt);
  const findings: HistoryFinding[] = [];
  let next = 0;
  let highest: Placed | undefined;
  for (const call of calls) {
    for (; (returns[next]?.operation.returnedAt ?? Infinity) < call.operation.calledAt; next += 1) {
      const returned = returns[next] as Placed;
      if (highest === undefined || returned.revision > highest.revision) highest = returned;
    }
    if (highest === undefined) continue;
    if (call.writes ? call.revision > highest.revision : call.revision >= highest.revision) continue;
    const found = finding(call, highest);
    if (found !== undefined) findings.push(found);
  }
  return findings;
}

/** Tells for each revision who was the first to show, by having its answer, that it had been made. */
export class FirstSeen {
  readonly #firstRevision: number;
  /** By revision from the first on. */
  readonly #seen: (Placed | undefined)[];

  constructor(placed: readonly Placed[], firstRevision: number, lastRevision: number) {
    this.#firstRevision = firstRevision;
    this.#seen = new Array<Placed | undefined>(lastRevision - firstRevision + 1).fill(undefined);
    for (const one of placed) {
      const index = one.revision - firstRevision;
      this.#seen[index] = earlier(one, this.#seen[index]);
    }
    for (let index = this.#seen.length - 2; index >= 0; index -= 1)
      this.#seen[index] = earlier(this.#seen[index], this.#seen[index + 1]);
  }

  /** Undefined if no answer shows it. */
  of(revision: number): Placed | undefined {
    return this.#seen[revision - this.#firstRevision];
  }
}

function earlier(a: Placed | undefined, b: Placed | undefined): Placed | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return b.operation.returnedAt < a.operation.returnedAt ? b : a;
}
