/** A history of keys, one transaction at a time: what one does belongs together. */
import type { KeyEvent } from '../../../recipes/await-point-history.ts';

/** What was done at one revision. */
export interface Change {
  readonly revision: bigint;
  readonly puts: readonly KeyEvent[];
  readonly deletes: readonly KeyEvent[];
}

/** The changes of a history, in their order. */
export function* byRevision(events: readonly KeyEvent[]): Generator<Change> {
  for (let at = 0; at < events.length; ) {
    const { revision } = events[at] as KeyEvent;
    let end = at + 1;
    while (events[end]?.revision === revision) end += 1;
    const changes = events.slice(at, end);
    yield {
      revision,
      puts: changes.filter(({ type }) => type === 'put'),
      deletes: changes.filter(({ type }) => type === 'delete'),
    };
    at = end;
  }
}

/** Whether a put has made its key. */
export function isCreate({ createRevision, revision }: KeyEvent): boolean {
  return createRevision === revision;
}

/** What follows the last slash. */
export function lastPart(key: string): string {
  return key.slice(key.lastIndexOf('/') + 1);
}
