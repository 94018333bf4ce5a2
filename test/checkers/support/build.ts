/** Short ways to write histories down. */
import type { Answered, KeyVersion, LogEntry, Op, Operation, Request, Result } from '../history.ts';
import { evaluate } from '../kv-model.ts';
import { EMPTY_START, HeldState, type Start } from '../versions.ts';

/** A request from a text: `a=1`, `a=1@7` (with lease 7), `-a`, `-[a,c)`, `a?`, `[a,c)?`, `!7` (revoke), joined by `;` as a txn. */
export function request(text: string): Request {
  const parts = text.split(';').map((part) => part.trim());
  if (parts.length > 1) return { kind: 'txn', compares: [], success: parts.map(op), failure: [] };
  return text.startsWith('!') ? { kind: 'revoke', lease: BigInt(text.slice(1)) } : op(text);
}

/** One operation from a text: see {@link request}. */
export function op(text: string): Op {
  if (text.startsWith('-')) return { kind: 'delete', ...range(text.slice(1)), prevKv: true };
  if (text.endsWith('?')) return { kind: 'range', ...range(text.slice(0, -1)) };
  const [key = '', rest = ''] = text.split('=');
  const [value = '', lease] = rest.split('@');
  return { kind: 'put', key, value, lease: lease === undefined ? 0n : BigInt(lease), prevKv: true };
}

function range(text: string): { key: string; end?: string } {
  const [, key, end] = /^\[(.*),(.*)\)$/.exec(text) ?? [];
  return key === undefined || end === undefined ? { key: text } : { key, end };
}

/** The log of a store that did these one after the other. */
export function logOf(...texts: readonly string[]): LogEntry[] {
  const log: LogEntry[] = [];
  let state = startState();
  for (const text of texts) {
    const { events } = evaluate(state, request(text));
    if (events.length === 0) continue;
    log.push({ revision: state.revision + 1, events });
    state = state.after(log.at(-1) as LogEntry);
  }
  return log;
}

/** What a store holds at its start. */
export function startState({ revision, kvs }: Start = EMPTY_START): HeldState {
  return new HeldState(revision, new Map(kvs.map((kv) => [kv.key, kv])));
}

/** An operation that was answered as the log says: at a revision that it has made, or has seen. */
export function ok(
  id: number,
  [calledAt, returnedAt]: readonly [number, number],
  what: string | Request,
  revision: number,
  log: readonly LogEntry[],
): Answered {
  const asked = typeof what === 'string' ? request(what) : what;
  const reads = asked.kind === 'range';
  let state = startState();
  for (const entry of log) if (entry.revision < revision + (reads ? 1 : 0)) state = state.after(entry);
  let { result } = evaluate(state, asked).response;
  const now = log.find((entry) => entry.revision === revision);
  // A write that did nothing has seen its revision.
  if (!reads && now !== undefined && evaluate(state, asked).events.length === 0)
    result = evaluate(state.after(now), asked).response.result;
  return { ...called(id, calledAt, asked), status: 'ok', returnedAt, response: { revision, result } };
}

/** Its outcome is not known. */
export function unknown(id: number, calledAt: number, what: string | Request): Operation {
  return { ...called(id, calledAt, typeof what === 'string' ? request(what) : what), status: 'unknown' };
}

/** It had no effect for certain. */
export function failed(id: number, calledAt: number, what: string): Operation {
  return { ...called(id, calledAt, request(what)), status: 'failed' };
}

function called(id: number, calledAt: number, asked: Request) {
  return { id, client: `c${id}`, calledAt, request: asked };
}

/** The same operation with another answer. */
export function answering(operation: Answered, change: (result: Result) => Result): Answered {
  const { response } = operation;
  return { ...operation, response: { ...response, result: change(response.result) } };
}

/** A version of a key. */
export function kv(key: string, value: string, mod: number, rest: Partial<KeyVersion> = {}): KeyVersion {
  return { key, value, lease: 0n, createRevision: mod, modRevision: mod, version: 1, ...rest };
}
