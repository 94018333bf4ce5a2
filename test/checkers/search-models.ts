/**
 * The store as a model to search with: with its revisions, or as if nobody had heard of them.
 *
 * Without revisions keys are independent of each other, and a store that lies in its headers is found out by the values
 * alone. What a condition on a create or mod revision says is then open, except that a key which is there has one above
 * 0 and one which is not has 0; and reads of old revisions say nothing.
 */
import { differenceOf } from './describe.ts';
import type { Compare, KeyVersion, Op, OpResult, Request, Response, Result } from './history.ts';
import { type Effect, evaluate, holds, saysItWrote, type View } from './kv-model.ts';
import type { SearchModel } from './search.ts';
import { EMPTY_START, HeldState, type Start } from './versions.ts';

/** A state, and the text that stands for it. */
export interface ModelState {
  readonly view: HeldState;
  readonly key: string;
}

/** The store as it is. The state's text stands for all that led to it. */
export function storeModel({ revision, kvs }: Start = EMPTY_START): SearchModel<ModelState> {
  const view = new HeldState(revision, byName(kvs));
  const ids = new Map<string, number>();
  return {
    initial: { view, key: '' },
    step(state, request, response) {
      const effect = evaluate(state.view, request);
      if (response !== undefined && differenceOf(effect.response, response) !== undefined) return [];
      if (effect.events.length === 0) return [state];
      // All before and what is new: two numbers, not a text that grows.
      const text = `${state.key} ${JSON.stringify(effect.events, bigintText)}`;
      const id = ids.get(text) ?? ids.size;
      ids.set(text, id);
      return [{ view: after(state.view, effect), key: String(id) }];
    },
    onlyReads,
    keyOf: ({ key }) => key,
  };
}

/** The store without its revisions. */
export function plainModel(kvs: readonly KeyVersion[] = []): SearchModel<ModelState> {
  // What is written then has revision 0, like everything.
  const view = new HeldState(-1, byName(kvs.map(withoutRevisions)));
  return {
    initial: { view, key: contentOf(view) },
    step(state, request, response) {
      return outcomes(state.view, request)
        .filter((effect) => response === undefined || agrees(request, effect.response, response))
        .map((effect) => {
          if (effect.events.length === 0) return state;
          const next = new HeldState(-1, after(state.view, effect).kvs);
          return { view: next, key: contentOf(next) };
        });
    },
    onlyReads,
    keyOf: ({ key }) => key,
  };
}

/** The answer to a revoke does not say. */
function onlyReads(request: Request, response: Response): boolean {
  return request.kind !== 'revoke' && !saysItWrote(response);
}

function after(view: HeldState, { events }: Effect): HeldState {
  return view.after({ revision: view.revision + 1, events });
}

function outcomes(view: View, request: Request): Effect[] {
  if (request.kind !== 'txn') return [evaluate(view, request)];
  return decisions(view, request.compares).map((decision) => evaluate(view, request, () => decision));
}

/** Which branches a transaction may take. */
function decisions(view: View, compares: readonly Compare[]): boolean[] {
  const each = compares.map((compare) => decision(view, compare));
  if (each.includes(false)) return [false];
  return each.includes(undefined) ? [true, false] : [true];
}

function decision(view: View, compare: Compare): boolean | undefined {
  const there = compare.end === undefined ? view.get(compare.key) !== undefined : view.range(compare).length > 0;
  if (!there || (compare.target !== 'createRevision' && compare.target !== 'modRevision')) return holds(view, compare);
  return compare.operand === 0 ? compare.result === '!=' || compare.result === '>' : undefined;
}

function agrees(request: Request, expected: Response, found: Response): boolean {
  return differenceOf(seen(request, expected.result), seen(request, found.result)) === undefined;
}

/** What an answer says, without revisions. */
function seen(request: Request, result: Result): unknown {
  if (result.kind === 'revoke' || request.kind === 'revoke') return result;
  if (result.kind !== 'txn') return seenOf(request.kind === 'txn' ? undefined : request, result);
  if (request.kind !== 'txn') return result;
  const ops = result.succeeded ? request.success : request.failure;
  return { ...result, results: result.results.map((one, index) => seenOf(ops[index], one)) };
}

function seenOf(op: Op | undefined, result: OpResult): unknown {
  switch (result.kind) {
    case 'put':
      return { ...result, prevKv: result.prevKv && withoutRevisions(result.prevKv) };
    case 'delete':
      return { ...result, prevKvs: result.prevKvs.map(withoutRevisions) };
    case 'range':
      if (op?.kind === 'range' && (op.revision ?? 0) > 0) return { kind: 'range' };
      return { ...result, kvs: result.kvs.map(withoutRevisions) };
  }
}

function withoutRevisions(kv: KeyVersion): KeyVersion {
  return { ...kv, createRevision: 0, modRevision: 0 };
}

function byName(kvs: readonly KeyVersion[]): Map<string, KeyVersion> {
  return new Map(kvs.map((kv) => [kv.key, kv]));
}

function contentOf(view: View): string {
  const all = view.range({ key: '', end: '\0' });
  return JSON.stringify(all.map(({ key, value, lease, version }) => [key, value, String(lease), version]));
}

function bigintText(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value;
}
