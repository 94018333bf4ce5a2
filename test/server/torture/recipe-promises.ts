/**
 * What users of a cluster were told (`recipe-users.ts`), held against the history of the keys: who lost what.
 *
 * Locks and elections are judged by the keys alone: each write under a guard was made by the oldest contender there was
 * at that revision, and tokens never go back.
 */
import { isParticipant } from '../../../recipes/names.ts';
import type { ChangeEvent } from '../../../src/index.ts';
import {
  ACCOUNT_NAMES,
  ACCOUNTS,
  COUNTER,
  dataOf,
  ELECTION,
  KEYS,
  LOCK,
  OPENING,
  QUEUE,
  REGISTERS,
  type Told,
} from './recipe-users.ts';

/** Of each kind no more is shown. */
const SHOWN = 3;

/** Promises that were broken, some of each kind; none if all were kept. @param events All changes of the users' keys, by one watch. */
export function brokenPromises(told: Told, events: readonly ChangeEvent[]): string[] {
  return [
    told.wrong,
    gaps(events),
    lostWrites(told, events),
    unfenced(LOCK, events),
    unfenced(ELECTION, events),
    sharedTerms(told),
    queueFaults(told, events),
    countFaults(told, events),
    bankFaults(told, events),
  ].flatMap((found) => found.slice(0, SHOWN));
}

/** A watch is dense if each key's versions are, and never goes back. */
function gaps(events: readonly ChangeEvent[]): string[] {
  const found: string[] = [];
  const versions = new Map<string, bigint>();
  let last = 0n;
  for (const { type, kv, revision } of events) {
    if (revision < last) found.push(`the watch goes from revision ${last} to ${revision}`);
    last = revision;
    const before = versions.get(kv.key) ?? 0n;
    if (type === 'delete') versions.delete(kv.key);
    else versions.set(kv.key, kv.version);
    const fits = type === 'delete' ? before > 0n : kv.version === before + 1n;
    if (!fits) found.push(`${kv.key}: a ${type} at revision ${revision} comes after version ${before}`);
  }
  return found;
}

function lostWrites({ written, unknownWrites, refusedWrites }: Told, events: readonly ChangeEvent[]): string[] {
  const seen = new Map<string, number[]>();
  for (const { type, kv } of events)
    if (type === 'put' && kv.key.startsWith(REGISTERS))
      seen.set(kv.key, [...(seen.get(kv.key) ?? []), Number(kv.value)]);
  const found: string[] = [];
  for (const [key, acknowledged] of written) {
    const values = seen.get(key) ?? [];
    const there = new Set(values);
    for (const n of acknowledged) if (!there.has(n)) found.push(`${key}: ${n} was acknowledged and is lost`);
    for (const n of refusedWrites.get(key) ?? [])
      if (there.has(n)) found.push(`${key}: ${n} was refused and is written`);
    if (there.size < values.length) found.push(`${key}: written twice: ${values}`);
    // One of which nobody knows may come at any time.
    const unknown = unknownWrites.get(key) ?? new Set();
    const known = values.filter((value) => !unknown.has(value));
    if (known.some((value, i) => i > 0 && value < (known[i - 1] as number)))
      found.push(`${key}: written in another order: ${known}`);
  }
  return found;
}

function unfenced(name: string, events: readonly ChangeEvent[]): string[] {
  const places = new Map<string, bigint>();
  const found: string[] = [];
  let last = 0n;
  for (const { type, kv, revision } of events) {
    if (type === 'delete') places.delete(kv.key);
    else if (isParticipant(kv, `${name}/`)) places.set(kv.key, kv.createRevision);
    else if (kv.key === dataOf(name)) {
      const token = BigInt(kv.value);
      const oldest = [...places.values()].reduce<bigint | undefined>(
        (a, b) => (a !== undefined && a < b ? a : b),
        undefined,
      );
      if (token !== oldest) found.push(`${name}: a write at ${revision} by ${token}, while ${oldest} held`);
      if (token < last) found.push(`${name}: a write by ${token} after one by ${last}`);
      last = token;
    }
  }
  return found;
}

function sharedTerms({ leaders }: Told): string[] {
  return [...leaders].filter(([, who]) => who.size > 1).map(([term, who]) => `term ${term} is led by ${[...who]}`);
}

function queueFaults(told: Told, events: readonly ChangeEvent[]): string[] {
  const found: string[] = [];
  const { taken, enqueued, refused, unknownTakes } = told;
  const out = new Set(taken);
  if (out.size < taken.length) found.push(`the queue gave ${taken.length - out.size} items out twice`);
  for (const value of taken) if (refused.has(value)) found.push(`the queue gave out ${value}, which it had refused`);
  const missing = [...enqueued].filter((value) => !out.has(value));
  if (missing.length > unknownTakes)
    found.push(`the queue has lost ${missing}, and ${unknownTakes} takings are unknown`);
  const left = new Set<string>();
  for (const { type, kv } of events) {
    if (!kv.key.startsWith(`${QUEUE}/`) || !kv.key.includes('/items/')) continue;
    if (type === 'put') left.add(kv.key);
    else left.delete(kv.key);
  }
  if (left.size > 0) found.push(`the queue still has ${[...left]}`);
  return found;
}

function countFaults({ added, unknownAdds }: Told, events: readonly ChangeEvent[]): string[] {
  const counter = events.filter(({ type, kv }) => type === 'put' && kv.key === `${COUNTER}/value`).at(-1);
  const value = counter?.type === 'put' ? Number(counter.kv.value) : 0;
  if (value >= added && value <= added + unknownAdds) return [];
  return [`the counter is ${value} after ${added} additions, and ${unknownAdds} that nobody knows of`];
}

function bankFaults({ transfers, unknownTransfers }: Told, events: readonly ChangeEvent[]): string[] {
  const found: string[] = [];
  const balances = new Map<string, number>(ACCOUNT_NAMES.map((name) => [ACCOUNTS + name, OPENING]));
  const sum = OPENING * ACCOUNT_NAMES.length;
  let receipts = 0;
  for (const [at, { type, kv, revision }] of events.entries()) {
    if (type === 'put' && kv.key.startsWith(`${KEYS}receipts/`)) receipts += 1;
    if (type === 'put' && kv.key.startsWith(ACCOUNTS)) balances.set(kv.key, Number(kv.value));
    // What one transaction does is seen as one.
    if (events[at + 1]?.revision === revision) continue;
    const total = [...balances.values()].reduce((a, b) => a + b, 0);
    if (total !== sum) found.push(`the accounts have ${total} at revision ${revision}`);
  }
  if (receipts < transfers || receipts > transfers + unknownTransfers)
    found.push(`${receipts} receipts of ${transfers} transfers, and ${unknownTransfers} that nobody knows of`);
  return found;
}
