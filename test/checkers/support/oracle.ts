/**
 * Whether some order explains a history, by trying all of them: too slow for anything but a handful of operations, and
 * too simple to be wrong.
 */
import { differenceOf } from '../describe.ts';
import { isSerializable, type LogEntry, type Operation } from '../history.ts';
import type { SearchModel } from '../search.ts';
import { type ModelState, storeModel } from '../search-models.ts';

export interface OracleOptions<State> {
  /** What may happen by itself. Default: nothing. */
  readonly byItself?: (state: State) => readonly State[];
  /** What the last state must be like. Default: anything. */
  readonly ends?: (state: State) => boolean;
}

/** Tries all orders. */
export function someOrderExplains<State>(
  operations: readonly Operation[],
  { initial, step }: SearchModel<State>,
  { byItself = () => [], ends = () => true }: OracleOptions<State> = {},
): boolean {
  const all = operations.filter(({ status }) => status !== 'failed');
  const go = (state: State, done: ReadonlySet<Operation>): boolean => {
    if (ends(state) && all.every((one) => one.status === 'unknown' || done.has(one))) return true;
    if (byItself(state).some((next) => go(next, done))) return true;
    return all.some((one) => {
      if (done.has(one) || all.some((other) => !done.has(other) && precedes(other, one))) return false;
      const next = step(state, one.request, one.status === 'ok' ? one.response : undefined);
      return next.some((after) => (one.status === 'ok' || after !== state) && go(after, new Set(done).add(one)));
    });
  };
  return go(initial, new Set());
}

/** Whether one operation was over before the other began, and so comes first. */
function precedes(a: Operation, b: Operation): boolean {
  if (a.status !== 'ok' || a.returnedAt >= b.calledAt) return false;
  const sameSession = b.status === 'ok' && a.session !== undefined && a.session === b.session;
  return sameSession || !isSerializable(b.request);
}

/** The store, of which it is known what it went through: it does nothing else, and all of it. */
export function storeOnLog(log: readonly LogEntry[]): [SearchModel<ModelState>, OracleOptions<ModelState>] {
  const model = storeModel();
  const last = log.at(-1)?.revision ?? model.initial.view.revision;
  const onLog = (before: ModelState, after: ModelState): boolean => {
    if (before === after) return true;
    const entry = log.find(({ revision }) => revision === after.view.revision);
    const changed = [...after.view.kvs.values()].every(
      (kv) => kv.modRevision < after.view.revision || logged(entry, kv),
    );
    return entry !== undefined && changed && entryGives(before, after, entry);
  };
  const step: typeof model.step = (state, request, response) =>
    model.step(state, request, response).filter((next) => onLog(state, next));
  const byItself = (state: ModelState): readonly ModelState[] => {
    const leases = new Set([...state.view.kvs.values()].map(({ lease }) => lease).filter((lease) => lease !== 0n));
    return [...leases].flatMap((lease) => step(state, { kind: 'revoke', lease }, undefined));
  };
  return [
    { ...model, step },
    { byItself, ends: ({ view }) => view.revision === last },
  ];
}

function logged(entry: LogEntry | undefined, kv: unknown): boolean {
  return entry?.events.some((event) => differenceOf(event.kv, kv) === undefined) ?? false;
}

function entryGives(before: ModelState, after: ModelState, entry: LogEntry): boolean {
  const expected = [...before.view.after(entry).kvs.values()];
  const found = [...after.view.kvs.values()];
  const gone = entry.events.filter(({ type }) => type === 'delete').every(({ kv }) => before.view.kvs.has(kv.key));
  return gone && differenceOf(sorted(expected), sorted(found)) === undefined;
}

function sorted<T extends { readonly key: string }>(items: T[]): T[] {
  return items.sort((a, b) => (a.key < b.key ? -1 : 1));
}
