/**
 * Whether writes under a guard were made by who held at that moment, as the keys alone say: each puts its writer's token
 * to one key, and the places in the queue at that revision decide who holds.
 */
import { isParticipant } from '../../../../recipes/names.ts';
import type { KeyValue } from '../../../../src/index.ts';
import type { KeyEvent } from '../../../recipes/await-point-history.ts';

/** Somebody in a queue. */
export interface Place {
  readonly key: string;
  readonly token: bigint;
  readonly value: string;
}

/** Where to look, and who holds. */
export interface Fence {
  /** The key that holders write their token to, in decimal text. */
  readonly data: string;
  /** What the places' keys begin with. */
  readonly queues: readonly string[];
  /** Whether a place holds, with these older ones there. Default: the oldest holds, and tokens never go back. */
  readonly holds?: ((place: Place, older: readonly Place[]) => boolean) | undefined;
}

/** Writes by who did not hold. */
export function unfenced(events: readonly KeyEvent[], { data, queues, holds }: Fence): string[] {
  const places = new Map<string, Place>();
  const found: string[] = [];
  let last = 0n;
  for (const event of events) {
    const { type, key, value, revision } = event;
    if (type === 'delete') places.delete(key);
    else if (isPlace(event, queues)) places.set(key, { key, token: event.createRevision, value });
    else if (key === data) {
      const token = BigInt(value);
      const all = [...places.values()];
      const older = all.filter((place) => place.token < token);
      const writer = all.find((place) => place.token === token);
      const held = writer !== undefined && (holds?.(writer, older) ?? older.length === 0);
      if (!held)
        found.push(`${data}: a write at ${revision} by ${token}, while there were ${all.map((each) => each.token)}`);
      if (holds === undefined && token < last) found.push(`${data}: a write by ${token} after one by ${last}`);
      last = token;
    }
  }
  return found;
}

/** Whether an event is of a key below one of the prefixes that is somebody's place in a queue. */
export function isPlace({ key, lease }: KeyEvent, prefixes: readonly string[]): boolean {
  return prefixes.some((prefix) => isParticipant({ key, lease } as KeyValue<unknown>, prefix));
}
