/**
 * Following the keys of a recipe: what they are now, and again after each change.
 *
 * For those who look on: observers of an election, members of a group. They get states, not
 * events: a reader who was away gets the state as it is, and never an older one afterwards.
 * After everything that happens there comes a state in which it has happened, also when it
 * was undone by then and the state is the same as before: who was refused something because
 * of a key gets a state from after that key's deletion, even if it has never seen the key.
 *
 * What lies below is the client's informer, which lists, watches, and lists again when the
 * history it needs was compacted; so it goes on through lost connections and members.
 *
 * @module
 */

import { ClosedError, type Keyspace, type KeyValue, type Revision } from '../src/index.ts';
import { throwIfFired } from './waiting.ts';

/** The keys below a prefix, at one revision. */
export interface FollowedState<V> {
  /** In the order of the keys. */
  readonly kvs: readonly KeyValue<V>[];
  readonly revision: Revision;
}

/**
 * The keys below a prefix: at once, and again after each change, for as long as the loop
 * runs. It ends only by leaving it, or by throwing.
 *
 * @throws AbortError when the signal fires; ClosedError when the client is closed;
 * EtcdError when the cluster refuses for good, as for a permission that is missing.
 */
export async function* following<V, In>(
  keyspace: Keyspace<V, In>,
  prefix: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<FollowedState<V>, void, void> {
  assertNotAborted(signal);
  await using copy = keyspace.cache({ prefix }, { signal });
  try {
    await copy.ready;
  } catch (error) {
    assertNotAborted(signal);
    throw error;
  }
  // From here on, so that nothing is missed: the state is read afterwards.
  const revisions = copy.revisions();
  yield { kvs: [...copy], revision: copy.revision };
  for await (const _revision of revisions) {
    assertNotAborted(signal);
    yield { kvs: [...copy], revision: copy.revision };
  }
  assertNotAborted(signal);
  throw new ClosedError('the client');
}

function assertNotAborted(signal: AbortSignal | undefined): void {
  throwIfFired(signal);
}
