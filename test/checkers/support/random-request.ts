/** Requests of all kinds that an etcd takes, on few keys, so that they meet. */
import type { Random } from '../../simulation/world/random.ts';
import type { Compare, KeyRange, Op, RangeOp, Request } from '../history.ts';

/** A lease that puts may name; it has to be there. */
export const LEASE = 7n;

/**
 * Makes one.
 *
 * @param value What is put.
 * @param revision Around which compares ask.
 */
export function randomRequest(random: Random, value: string, revision: number): Request {
  const kind = random.below(10);
  if (kind < 3) return { ...randomRange(random), serializable: random.chance(0.3) };
  if (kind < 5) return randomPut(random, random.pick(['a', 'b', 'c', 'd']), value);
  if (kind < 6) return { kind: 'delete', ...keys(random, ['a', 'b', 'c', 'd']), prevKv: random.chance(0.5) };
  return {
    kind: 'txn',
    compares: Array.from({ length: random.below(3) }, () => randomCompare(random, revision)),
    success: randomBranch(random, value),
    failure: randomBranch(random, value),
  };
}

/** A key is put once at most, and never where it is deleted: etcd refuses that. */
function randomBranch(random: Random, value: string): Op[] {
  const ops: Op[] = [];
  if (random.chance(0.3)) ops.push(randomRange(random));
  for (const key of ['a', 'b']) if (random.chance(0.4)) ops.push(randomPut(random, key, `${value} ${key}`));
  const prevKv = random.chance(0.5);
  if (random.chance(0.4))
    ops.push({ kind: 'delete', key: random.pick(['c', 'd']), end: random.pick(['e', '\0']), prevKv });
  if (random.chance(0.5)) ops.push(randomRange(random));
  return ops;
}

function randomPut(random: Random, key: string, value: string): Op {
  return { kind: 'put', key, value, lease: random.chance(0.3) ? LEASE : 0n, prevKv: random.chance(0.5) };
}

function randomRange(random: Random): RangeOp {
  return {
    kind: 'range',
    ...keys(random, ['a', 'b', 'c', 'd']),
    limit: random.below(3),
    countOnly: random.chance(0.2),
  };
}

/** A key, or a range from it on. */
function keys(random: Random, all: readonly string[]): KeyRange {
  const key = random.pick(all);
  return random.chance(0.6) ? { key } : { key, end: random.pick(['c', 'e', '\0']) };
}

function randomCompare(random: Random, revision: number): Compare {
  const base = { ...keys(random, ['a', 'b', 'c', 'd']), result: random.pick(['=', '!=', '<', '>'] as const) };
  const near = random.chance(0.3) ? 0 : random.between(Math.max(0, revision - 20), revision);
  switch (random.below(5)) {
    case 0:
      return { ...base, target: 'value', operand: random.pick(['', '0-1', '3']) };
    case 1:
      return { ...base, target: 'version', operand: random.below(3) };
    case 2:
      return { ...base, target: 'createRevision', operand: near };
    case 3:
      return { ...base, target: 'modRevision', operand: near };
    default:
      return { ...base, target: 'lease', operand: random.pick([0n, LEASE]) };
  }
}
