/**
 * Who has made the revisions that nobody was told of: operations of unknown outcome, each once at most, and leases that
 * have run out. A revoke that was answered is one of them too, for the revision of its answer alone: whether it found
 * anything to take away the answer does not say.
 *
 * Which operation could have made a revision the state before it tells, and time: an operation that was called after
 * somebody had the revision's effect in an answer has not made it. Since one operation may fit several revisions, and
 * the other way round, all are assigned at once, as a maximum matching: no revision is blamed that could be explained.
 *
 * Source: Kuhn's augmenting paths, "The Hungarian method for the assignment problem" (1955), as for bipartite graphs.
 */
import { describeEvents, describeOperation, differenceOf } from './describe.ts';
import { canWrite, type HistoryFinding, type LogEntry, type Operation } from './history.ts';
import { evaluate, type View } from './kv-model.ts';
import type { FirstSeen } from './real-time.ts';
import type { Versions } from './versions.ts';

/** Who has made a revision. */
export type Writer =
  | { readonly kind: 'operation'; readonly operation: Operation }
  | { readonly kind: 'expiry'; readonly lease: bigint };

export interface Assignment {
  readonly findings: readonly HistoryFinding[];
  /** Of the revisions that were looked at. */
  readonly writers: ReadonlyMap<number, Writer>;
}

/** What may have made a revision. */
interface Candidates {
  readonly revision: number;
  readonly operations: readonly Operation[];
  /** The lease whose end it may be. */
  readonly lease: bigint | undefined;
}

/**
 * Assigns revisions that no answer names.
 *
 * @param canExpire Whether a lease may run out.
 */
export function assignWriters(
  revisions: readonly number[],
  operations: readonly Operation[],
  versions: Versions,
  firstSeen: FirstSeen,
  canExpire: (lease: bigint) => boolean,
): Assignment {
  const possible = operations.filter(({ status, request }) =>
    status === 'unknown' ? canWrite(request) : status === 'ok' && request.kind === 'revoke',
  );
  const candidates = revisions.map((revision): Candidates => {
    const [before, entry] = around(versions, revision);
    const seenAt = firstSeen.of(revision)?.operation.returnedAt ?? Infinity;
    const lease = endedLease(before, entry);
    return {
      revision,
      operations: possible.filter(
        (one) => one.calledAt <= seenAt && isItsRevision(one, revision) && makes(one, before, entry),
      ),
      lease: lease !== undefined && canExpire(lease) ? lease : undefined,
    };
  });
  const { writers, unmatched } = match(candidates);
  const findings = unmatched.map((revision) => explain(revision, operations, versions, firstSeen, writers));
  return { findings, writers };
}

function match(candidates: readonly Candidates[]): { writers: Map<number, Writer>; unmatched: number[] } {
  const taken = new Map<Operation, Candidates>();
  const assign = (one: Candidates, tried: Set<Operation>): boolean =>
    one.operations.some((operation) => {
      if (tried.has(operation)) return false;
      tried.add(operation);
      const other = taken.get(operation);
      if (other !== undefined && !assign(other, tried)) return false;
      taken.set(operation, one);
      return true;
    });
  // Ends of leases come last: they need no operation, though one may have done it.
  const ordered = [...candidates].sort((a, b) => Number(a.lease !== undefined) - Number(b.lease !== undefined));
  const without = ordered.filter((one) => !assign(one, new Set()));
  const writers = new Map<number, Writer>();
  for (const [operation, { revision }] of taken) writers.set(revision, { kind: 'operation', operation });
  for (const { revision, lease } of without) if (lease !== undefined) writers.set(revision, { kind: 'expiry', lease });
  return { writers, unmatched: without.filter(({ lease }) => lease === undefined).map(({ revision }) => revision) };
}

/** Says of a revision why none of the operations has made it. */
function explain(
  revision: number,
  operations: readonly Operation[],
  versions: Versions,
  firstSeen: FirstSeen,
  writers: ReadonlyMap<number, Writer>,
): HistoryFinding {
  const [before, entry] = around(versions, revision);
  const what = `revision ${revision} (${describeEvents(entry.events)})`;
  const fitting = operations.filter((one) => canWrite(one.request) && makes(one, before, entry));
  const failed = fitting.find(({ status }) => status === 'failed');
  if (failed !== undefined)
    return {
      rule: 'failed-write',
      message: `${what} is ${describeOperation(failed)}, which must not have had any effect`,
      operations: [failed],
    };
  const seen = firstSeen.of(revision)?.operation;
  const late = fitting.find(({ status, calledAt }) => status === 'unknown' && seen && calledAt > seen.returnedAt);
  if (late !== undefined && seen !== undefined)
    return {
      rule: 'write-order',
      message: `${what} could be ${describeOperation(late)} only, but ${describeOperation(seen)} had it before the call`,
      operations: [seen, late],
    };
  const made = [...writers].find(([, writer]) => writer.kind === 'operation' && fitting.includes(writer.operation));
  const answered = fitting.find(({ status }) => status === 'ok');
  if (made === undefined && answered === undefined)
    return { rule: 'phantom-write', message: `${what} is nothing that anybody asked for`, operations: [] };
  const twice = made !== undefined ? (made[1] as { operation: Operation }).operation : (answered as Operation);
  const first = made !== undefined ? `revision ${made[0]}` : 'the revision of its answer';
  return {
    rule: 'applied-twice',
    message: `${what} could be ${describeOperation(twice)} only, which has already made ${first}`,
    operations: [twice],
  };
}

function isItsRevision(operation: Operation, revision: number): boolean {
  return operation.status !== 'ok' || operation.response.revision === revision;
}

/** Whether the operation makes just this revision of that state. */
function makes({ request }: Operation, before: View, { events }: LogEntry): boolean {
  const made = evaluate(before, request).events;
  return made.length === events.length && differenceOf(made, events) === undefined;
}

/** The lease whose keys are what this revision deletes, all of them. */
function endedLease(before: View, { events }: LogEntry): bigint | undefined {
  const lease = before.get(events[0]?.kv.key ?? '')?.lease;
  if (lease === undefined || lease === 0n) return undefined;
  const made = evaluate(before, { kind: 'revoke', lease }).events;
  return differenceOf(made, events) === undefined ? lease : undefined;
}

function around(versions: Versions, revision: number): [View, LogEntry] {
  const before = versions.at(revision - 1);
  const entry = versions.entry(revision);
  if (before === undefined || entry === undefined) throw new RangeError(`the log has no revision ${revision}`);
  return [before, entry];
}
