/**
 * Operations and states as text for people, and where two results differ.
 */
import type { KeyRange, LogEvent, Op, Operation, Request } from './history.ts';

/** Longer texts are cut. */
const LONGEST = 160;

/** An operation on one line, with its times and the revision of its answer. */
export function describeOperation(operation: Operation): string {
  const { id, client, calledAt, request, status } = operation;
  const outcome =
    status === 'ok' ? `${operation.returnedAt}] at revision ${operation.response.revision}` : `..] ${status}`;
  return `#${id} ${describeRequest(request)} by ${client} [${calledAt}, ${outcome}`;
}

/** A request on one line. */
export function describeRequest(request: Request): string {
  switch (request.kind) {
    case 'txn': {
      const conditions = request.compares.map(
        ({ target, result, operand, ...range }) => `${target}(${describeRange(range)}) ${result} ${text(operand)}`,
      );
      return `if (${conditions.join(', ')}) {${describeOps(request.success)}} else {${describeOps(request.failure)}}`;
    }
    case 'revoke':
      return `revoke lease ${request.lease}`;
    default:
      return describeOps([request]);
  }
}

function describeOps(ops: readonly Op[]): string {
  return ops.map(describeOp).join('; ');
}

function describeOp(op: Op): string {
  if (op.kind === 'put') return `put ${op.key} = ${text(op.value)}${op.lease ? ` with lease ${op.lease}` : ''}`;
  if (op.kind === 'delete') return `delete ${describeRange(op)}`;
  const how = op.serializable ? ' serializable' : '';
  return `get ${describeRange(op)}${op.revision ? ` at revision ${op.revision}` : ''}${how}`;
}

/** A key, or `[key, end)`. */
export function describeRange({ key, end }: KeyRange): string {
  if (end === undefined) return key;
  return `[${printable(key)}, ${end === '\0' ? 'end' : printable(end)})`;
}

/** The events of a revision. */
export function describeEvents(events: readonly LogEvent[]): string {
  if (events.length === 0) return 'no change';
  return events
    .map(({ type, kv }) => (type === 'put' ? `put ${kv.key} = ${text(kv.value)}` : `delete ${kv.key}`))
    .join(', ');
}

/**
 * The first place in which two plain values differ, as text; undefined if they are equal. A field that is undefined is
 * as one that is missing.
 */
export function differenceOf(expected: unknown, found: unknown, path = ''): string | undefined {
  if (Object.is(expected, found)) return undefined;
  if (Array.isArray(expected) && Array.isArray(found) && expected.length !== found.length)
    return `${path} has ${found.length} items, not ${expected.length}: ${text(found)}, not ${text(expected)}`;
  if (!isObject(expected) || !isObject(found)) return `${path || 'it'} is ${text(found)}, not ${text(expected)}`;
  for (const field of new Set([...Object.keys(expected), ...Object.keys(found)])) {
    const at = Array.isArray(expected) ? `${path}[${field}]` : path === '' ? field : `${path}.${field}`;
    const difference = differenceOf(expected[field], found[field], at);
    if (difference !== undefined) return difference;
  }
  return undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

/** Any plain value, short. */
export function text(value: unknown): string {
  const whole = JSON.stringify(value, (_key, inner: unknown) => (typeof inner === 'bigint' ? String(inner) : inner));
  if (whole === undefined) return 'nothing';
  return whole.length <= LONGEST ? whole : `${whole.slice(0, LONGEST)}...`;
}

function printable(key: string): string {
  return key === '\0' ? 'start' : key;
}
