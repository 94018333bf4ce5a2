/**
 * One process of the lock storm: contenders that take one lock again and again until they are told to stop, by a line on
 * standard input, and say for each time what they believed and when, by the machine's monotonic clock.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Mutex } from '../../../recipes/mutex.ts';
import type { Session } from '../../../recipes/session.ts';
import { supervise } from '../../../recipes/supervise.ts';
import { Etcd } from '../../../src/index.ts';

const [endpoints = '', name = '', count = '1', label = ''] = process.argv.slice(2);
const stop = new AbortController();
process.stdin.once('data', () => stop.abort());
const now = (): number => Number(process.hrtime.bigint() / 1000n) / 1000;
const random = (below: number): number => Math.floor(Math.random() * below);

const etcd = new Etcd({ endpoints: endpoints.split(','), timeoutMs: 1_000, connectTimeoutMs: 500 });

async function contend(who: string, session: Session, signal: AbortSignal): Promise<void> {
  const mutex = new Mutex(session, name);
  while (!signal.aborted) {
    const patient = random(4) > 0;
    const lock = await mutex.acquire({ signal, timeoutMs: patient ? undefined : 50 + random(3_000) }).catch((error) => {
      if ((error as { code?: string }).code === 'wait-timeout') return undefined;
      throw error;
    });
    if (lock === undefined) continue;
    const from = now();
    let until = from;
    let guarded = 0;
    try {
      for (let step = 0; step < 2; step++) {
        await lock.guard({ then: [etcd.op.put(`${name}-last`, `${lock.token} ${who}`)] });
        guarded++;
        lock.assertHeld();
        until = now();
        await sleep(random(3));
      }
      lock.assertHeld();
      until = now();
      await lock.release();
    } finally {
      console.log(JSON.stringify({ who, token: lock.token.toString(), from, until, guarded }));
      await lock[Symbol.asyncDispose]();
    }
  }
}

/** A contender whose calls fail for whatever reason begins anew, as a service would that is restarted. */
async function goOn(who: string): Promise<void> {
  while (!stop.signal.aborted) {
    await supervise(etcd, { ttlSeconds: 3, owner: who, signal: stop.signal }, (session, signal) =>
      contend(who, session, signal),
    ).catch(() => {});
    if (!stop.signal.aborted) await sleep(100);
  }
}

await Promise.all(Array.from({ length: Number(count) }, (_, index) => goOn(`${label}-${index}`)));
await etcd.close();
