/**
 * Whether a history of clients is strictly serializable, given the log that the store went through.
 *
 * etcd says where each operation stands: a write makes the revision of its answer, anything else has seen just the
 * state of that revision. So nothing has to be searched for, and all that was answered is checked one by one:
 *
 * - each write that was acknowledged is in the log, at its revision, whole, and alone there;
 * - each answer (values, counts, previous values, outcome of compares) is what the state at its place gives;
 * - time agrees with revisions (`real-time.ts`), and no run of a member goes back;
 * - each revision that no answer names was made by an operation of unknown outcome, each of which has taken effect once
 *   at most, or by the end of a lease (`writers.ts`); what has failed has made nothing.
 *
 * Together that is sound and complete: there are no findings exactly if some order explains the answers and the log. It
 * believes the revisions that answers name: if those lie consistently with everything else, see `search.ts`, which does
 * not look at them.
 *
 * Source: Herlihy & Wing, "Linearizability" (1990); Gibbons & Korach, "Testing Shared Memories" (1997), for histories
 * whose order of writes is known.
 */
import { describeEvents, describeOperation, differenceOf } from './describe.ts';
import {
  type Answered,
  type HistoryFinding,
  isSerializable,
  type LogEntry,
  type Operation,
  type Request,
} from './history.ts';
import { evaluate, saysItWrote } from './kv-model.ts';
import { checkRealTime, checkSessions, FirstSeen, type Placed } from './real-time.ts';
import { checkLog, EMPTY_START, type Start, Versions } from './versions.ts';
import { assignWriters, type Writer } from './writers.ts';

export interface HistoryWithLog {
  readonly operations: readonly Operation[];
  /** All revisions from the start's next one to the last there ever was. */
  readonly log: readonly LogEntry[];
  /** What the store held before. Default: nothing, at revision 1. */
  readonly start?: Start | undefined;
  /** Whether a lease may run out, and so take its keys away. Default: every lease may. */
  readonly canExpire?: ((lease: bigint) => boolean) | undefined;
}

export interface HistoryReport {
  /** None if all is well. */
  readonly findings: readonly HistoryFinding[];
  /** By revision, as far as it is known. */
  readonly writers: ReadonlyMap<number, Writer>;
}

/** Does what the head of this file says. In O(n log n), but for the operations of unknown outcome. */
export function checkHistory({ operations, log, start = EMPTY_START, canExpire }: HistoryWithLog): HistoryReport {
  const broken = checkLog(log, start);
  if (broken.length > 0)
    return { findings: broken.map((one) => ({ ...one, operations: [] })), writers: new Map<number, Writer>() };
  const versions = new Versions(log, start);
  const places = new Places(versions);
  const answered = operations.filter((one) => one.status === 'ok');
  for (const one of answered) places.add(one);
  const { placed, writers } = places;
  const firstSeen = new FirstSeen(placed, versions.firstRevision, versions.lastRevision);
  const unclaimed = log.map(({ revision }) => revision).filter((revision) => !writers.has(revision));
  const rest = assignWriters(unclaimed, operations, versions, firstSeen, canExpire ?? (() => true));
  return {
    findings: [
      ...places.findings,
      ...placed.flatMap((one) => checkAnswer(one, versions)),
      ...checkRealTime(placed),
      ...checkSessions(placed),
      ...rest.findings,
    ],
    writers: new Map([...writers, ...rest.writers]),
  };
}

/** The revisions that were made by puts, deletes and transactions of clients. */
export function clientRevisions({ writers }: HistoryReport): Set<number> {
  const made = [...writers].filter(
    ([, writer]) => writer.kind === 'operation' && writer.operation.request.kind !== 'revoke',
  );
  return new Set(made.map(([revision]) => revision));
}

/** Where everything stands that was answered. */
class Places {
  readonly placed: Placed[] = [];
  readonly writers = new Map<number, Writer>();
  readonly findings: HistoryFinding[] = [];
  readonly #versions: Versions;

  constructor(versions: Versions) {
    this.#versions = versions;
  }

  add(operation: Answered): void {
    const { revision } = operation.response;
    const { firstRevision, lastRevision } = this.#versions;
    // Of a revoke nobody knows: it stands after the revision that it has made, or after one of others.
    const writes = saysItWrote(operation.response);
    if (revision > lastRevision || revision < firstRevision + (writes ? 1 : 0)) {
      const rule = writes ? 'lost-write' : 'unknown-revision';
      const has = `the log has revisions ${firstRevision + 1} to ${lastRevision}`;
      this.#find(rule, `${describeOperation(operation)}, but ${has}`, operation);
      return;
    }
    this.placed.push({ operation, revision, writes, serializable: isSerializable(operation.request) });
    if (!writes) return;
    const other = this.writers.get(revision);
    if (other?.kind === 'operation')
      this.#find(
        'one-revision',
        `${describeOperation(operation)} and ${describeOperation(other.operation)} have the same revision`,
        other.operation,
        operation,
      );
    else this.writers.set(revision, { kind: 'operation', operation });
  }

  #find(rule: string, message: string, ...operations: readonly Operation[]): void {
    this.findings.push({ rule, message, operations });
  }
}

/** Compares an answer, and what the log has of it, with what the state at its place gives. */
function checkAnswer({ operation, revision, writes }: Placed, versions: Versions): HistoryFinding[] {
  const { request, response } = operation;
  const view = versions.at(writes ? revision - 1 : revision);
  if (view === undefined || readsBefore(request, versions.firstRevision)) return [];
  const effect = evaluate(view, request);
  const name = describeOperation(operation);
  const difference = differenceOf(effect.response.result, response.result);
  if (difference !== undefined)
    return [{ rule: 'wrong-answer', message: `${name}: ${difference}`, operations: [operation] }];
  const events = writes ? (versions.entry(revision)?.events ?? []) : [];
  if (differenceOf(effect.events, events) === undefined) return [];
  const should = `should have made ${describeEvents(effect.events)}`;
  const message = `${name} ${should}, but its revision has ${describeEvents(events)}`;
  return [{ rule: 'wrong-effect', message, operations: [operation] }];
}

/** Whether it asks for a state that the log does not know. */
function readsBefore(request: Request, firstRevision: number): boolean {
  if (request.kind === 'txn')
    return [...request.success, ...request.failure].some((op) => readsBefore(op, firstRevision));
  return request.kind === 'range' && (request.revision ?? 0) > 0 && (request.revision ?? 0) < firstRevision;
}
