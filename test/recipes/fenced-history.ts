/** What the history of a lock's keys must show, whoever was struck by what. */
import { expect } from 'vitest';
import { isParticipant } from '../../recipes/names.ts';
import type { KeyValue, Revision } from '../../src/index.ts';
import type { KeyEvent } from './await-point-history.ts';

/** Somebody in the queue. */
export interface HistoricPlace {
  readonly key: string;
  readonly token: Revision;
  readonly value: string;
}

/** Where to look, and who may do what. */
export interface FencedKeys {
  /** The prefix, or prefixes, of the places in the queue. */
  readonly queue: string | readonly string[];
  /** The key that each holder writes its token to, in decimal text, through its guard. */
  readonly data: string;
  /** Whether a place holds with these older ones there. Default: the oldest holds, and tokens never go back. */
  readonly holds?: (place: HistoricPlace, older: readonly HistoricPlace[]) => boolean;
}

/** Each write of `data` was made by a place that held, as the store had it at that revision. Returns their tokens. */
export function expectFenced(events: readonly KeyEvent[], { queue, data, holds }: FencedKeys): bigint[] {
  const queues = typeof queue === 'string' ? [queue] : queue;
  const places = new Map<string, HistoricPlace>();
  const tokens: bigint[] = [];
  for (const { type, key, value, createRevision: token, lease } of events) {
    if (key === data && type === 'put') {
      const writer = [...places.values()].find((place) => place.token === BigInt(value));
      if (writer === undefined) throw new Error(`a write by ${value}, which has no place`);
      const older = [...places.values()].filter((place) => place.token < writer.token);
      const held = holds?.(writer, older) ?? older.length === 0;
      if (!held)
        throw new Error(`a write by ${value}, which did not hold: before it came ${older.map((p) => p.token)}`);
      tokens.push(writer.token);
    }
    const isPlace = queues.some((prefix) => isParticipant({ key, lease } as KeyValue<unknown>, prefix));
    if (type === 'put' && isPlace) places.set(key, { key, token, value });
    else places.delete(key);
  }
  if (holds === undefined) expect(tokens).toEqual([...tokens].sort((a, b) => (a < b ? -1 : 1)));
  return tokens;
}

/** Where a mutex has its keys. */
export function mutexKeys(name: string): FencedKeys {
  return { queue: `${name}/`, data: `${name}-data` };
}

/** Where a read-write mutex has its keys: a writer holds when nobody is older, a reader when no writer is. */
export function rwKeys(name: string): FencedKeys {
  const isWriter = ({ key, value }: HistoricPlace): boolean =>
    key.includes('/write/') && !value.includes('"mode":"read"');
  return {
    queue: [`${name}/read/`, `${name}/write/`],
    data: `${name}-data`,
    holds: (place, older) => (isWriter(place) ? older.length === 0 : !older.some(isWriter)),
  };
}

/** Where a semaphore has its keys: whoever is within the limit, counting all who are older, holds. */
export function permitKeys(name: string, limit: number): FencedKeys {
  const permitsOf = ({ value }: HistoricPlace): number => (JSON.parse(value) as { permits: number }).permits;
  return {
    queue: `${name}/permits/`,
    data: `${name}-data`,
    holds: (place, older) => [place, ...older].reduce((sum, each) => sum + permitsOf(each), 0) <= limit,
  };
}
