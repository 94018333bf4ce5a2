/** Processes that end, by SIGTERM and by SIGKILL, and come again. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { expect, it } from 'vitest';
import { tieProcess } from '../../../support/lifeline.ts';
import { KEY, startBed } from './bed.ts';

/** A process of `children/registered-instance.ts` that says that it is registered. */
async function startInstance(endpoint: string): Promise<ChildProcess> {
  const file = path.join(import.meta.dirname, '../../children/registered-instance.ts');
  const child = spawn(process.execPath, ['--import', 'tsx', file, endpoint], { stdio: ['ignore', 'pipe', 'inherit'] });
  tieProcess(child);
  const [line] = await once(child.stdout, 'data');
  expect(JSON.parse(String(line))).toEqual({ key: KEY });
  return child;
}

it('a crashed one is waited for by its next life under the same id; SIGTERM drains that, and ends it as ever', async () => {
  await using bed = await startBed();
  const events = bed.eye.watch(KEY);
  await events.ready;
  const next = events[Symbol.asyncIterator]();
  const told = async (): Promise<unknown> => {
    const { value: event } = await next.next();
    return event?.type === 'put' ? JSON.parse(event.kv.value).status : event?.type;
  };

  const first = await startInstance(bed.cluster.endpoints[0]!);
  expect(await told()).toBe('up');
  first.kill('SIGKILL');
  const second = await startInstance(bed.cluster.endpoints[0]!);
  // Its lease has run out, and only then there is another one.
  expect([await told(), await told()]).toEqual(['delete', 'up']);

  const ended = once(second, 'exit');
  second.kill('SIGTERM');
  expect([await told(), await told()]).toEqual(['draining', 'delete']);
  expect(await ended).toEqual([null, 'SIGTERM']);
  await next.return?.();
});
