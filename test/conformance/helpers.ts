/** What the suites on real servers share. */
import { setTimeout as sleep } from 'node:timers/promises';

/** How a promise was rejected; an error when it was not. */
export async function errorOf(attempt: Promise<unknown>): Promise<unknown> {
  const outcome = await attempt.then(
    (value) => ({ value }),
    (reason: unknown) => ({ reason }),
  );
  if ('reason' in outcome) return outcome.reason;
  throw new Error('it did not fail');
}

/** Looks until it is so; the test has the time limit. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await sleep(10);
}

/** Every key of an async iterable of key-value pairs, in the order they came. */
export async function keysOf(kvs: AsyncIterable<{ readonly key: string }>): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of kvs) keys.push(key);
  return keys;
}
