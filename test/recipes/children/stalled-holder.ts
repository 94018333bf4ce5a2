/**
 * Acquires a lock (`mutex`, `rwmutex`, which is the write lock, or `semaphore`, which is the only permit), then does nothing at all for longer than its session lives: blocks its own event loop, or waits to be
 * stopped from outside. After that, without a turn of the event loop in between, it says what it believes, and writes:
 * once without a guard, as a program would that trusts its lock, and once through the guard.
 */
import { writeSync } from 'node:fs';
import type { Held } from '../../../recipes/held.ts';
import { Mutex } from '../../../recipes/mutex.ts';
import { RWMutex } from '../../../recipes/rwmutex.ts';
import { Semaphore } from '../../../recipes/semaphore.ts';
import { Session } from '../../../recipes/session.ts';
import { Etcd } from '../../../src/index.ts';

const [endpoint = '', name = '', how = 'block', kind = 'mutex'] = process.argv.slice(2);
const etcd = new Etcd({ endpoints: [endpoint] });
const session = await Session.open(etcd, { ttlSeconds: 1 });
const acquire: Record<string, () => Promise<Held>> = {
  mutex: () => new Mutex(session, name).acquire(),
  rwmutex: () => new RWMutex(session, name).acquireWrite(),
  semaphore: () => new Semaphore(session, name, { limit: 1 }).acquire(),
};
const lock = await acquire[kind]?.();
if (lock === undefined) throw new Error(`there is no ${kind}`);
const say = (message: object): void => void writeSync(1, `${JSON.stringify(message)}\n`);
let toldBySignal = false;
lock.signal.addEventListener('abort', () => {
  toldBySignal = true;
});
await etcd.put(`${name}-data`, 'first');
// Taken before the parent is told, or it could stop this process in between and no time would seem to have jumped.
let last = performance.now();
say({ acquired: lock.token.toString() });

if (how === 'block') {
  const end = performance.now() + 4_000;
  while (performance.now() < end) {
    // Nothing else runs.
  }
} else {
  // The parent stops this process in here; time jumps.
  for (;;) {
    const now = performance.now();
    if (now - last > 1_000) break;
    last = now;
  }
}
// The first thing this process does after the stall.
const believed = { toldBySignal, held: lock.held, aborted: lock.signal.aborted };
const unguarded = etcd.put(`${name}-unguarded`, 'first, late');
const guarded = await lock.guard({ then: [etcd.op.put(`${name}-data`, 'first, late')] }).then(
  () => 'done',
  (error: Error) => error.name,
);
// And what the store says to one that would not even look at the clock.
const bare = await etcd.txn({ if: lock.conditions, then: [etcd.op.put(`${name}-data`, 'first, late')] });
await unguarded;
say({
  ...believed,
  guarded,
  bare: bare.succeeded,
  released: await lock.release().then(
    () => 'done',
    (e: Error) => e.name,
  ),
});
await session.close();
await etcd.close();
