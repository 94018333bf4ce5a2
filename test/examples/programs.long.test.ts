/** Every example but those with a test of their own runs on a server of its own, ends by itself, and prints what it shows. */
import { execFile } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

const run = promisify(execFile);
const root = path.join(import.meta.dirname, '..', '..');

/** What each prints; a line in brackets is one that it may leave out, `?` is any character. */
const printed: Readonly<Record<string, readonly string[]>> = {
  barriers: [
    'barrier: shut, the migration runs',
    'barrier: open, the services start',
    'double barrier: 3 began and ended together',
    'latch: 1 part left',
    'latch: all parts are loaded',
  ],
  config: [
    'nobody has published any: 10',
    'published, and in use: 50',
    'a wrong value is refused',
    'an error is told, and in use is still 50',
  ],
  counters: ['20 visits were counted: 20', '250 ids, 250 different ones'],
  cron: ['three replicas, two seconds: 2 runs, 2 different ticks'],
  election: [
    // Whoever looks on is told how things stand, not all that was in between.
    '[nobody leads]',
    '[ada leads]',
    '[nobody leads]',
    'grace leads',
    'what ada writes after her term: refused',
    'last run: by grace',
  ],
  lease: [
    'kept alive: true, certain for more than 3 s: true',
    'the owner is told: revoked',
    'the key: gone with it',
    'assertAlive: lease-lost',
  ],
  membership: [
    'members: worker-0, worker-1, worker-2',
    'after one has left: worker-1, worker-2',
    'six parts among three workers: 2 + 2 + 2',
    'and among the two that stay: 3 + 3',
  ],
  mutex: [
    '15 deposits of 10 by three workers: 150',
    'the fencing token grows from holder to holder: true',
    'a write after the lock was lost: [lost] the lock account-7 is not held any more: its session is lost',
    'the balance is still 150',
  ],
  queues: [
    'queue: ada, grace, edsger',
    'priority queue: fire',
    'delay queue, at once: nothing yet',
    'delay queue, later: call Ada',
  ],
  rwmutex: [
    'two read at the same time',
    'a writer waits for both',
    'one writes, alone',
    'the next reader finds: second edition',
  ],
  semaphore: ['8 downloads, 2 at most at the same time', 'all 3 permits are taken; one more is refused'],
  services: [
    'four requests, by turns: one one two two',
    'one is drained; two requests: two two',
    'nobody is left: no-instance',
  ],
  stm: ['after 40 transfers at once the four accounts hold 400'],
  watch: ['taken, packed, sent, deleted'],
  'work-queue': [
    'invoice 17 a second time: known already',
    // Workers spread over the jobs at the front.
    'a worker dies over invoice 1?, of 17 to 19',
    'sent: 17, 18, 19',
  ],
};

/** Tested elsewhere. */
const ELSEWHERE = ['tour'];

describe('the examples', () => {
  it('are all here', async () => {
    const files = (await readdir(path.join(root, 'examples'))).filter((name) => name.endsWith('.ts'));
    expect(files.map((name) => path.basename(name, '.ts')).sort()).toEqual(
      [...Object.keys(printed), ...ELSEWHERE].sort(),
    );
  });

  it.each(Object.entries(printed))('%s', async (name, lines) => {
    const { ETCD_ENDPOINTS: _, ...env } = process.env;
    const { stdout } = await run(process.execPath, ['--import', 'tsx', `examples/${name}.ts`], {
      cwd: root,
      env,
      timeout: 60_000,
      killSignal: 'SIGKILL',
    });
    const escaped = (text: string): string => text.replace(/[.*+^${}()|[\]\\]/g, '\\$&').replaceAll('?', '.');
    const pattern = lines.map((line) =>
      line.startsWith('[nobody') || line.startsWith('[ada')
        ? `(?:${escaped(line.slice(1, -1))}\n)?`
        : `${escaped(line)}\n`,
    );
    expect(stdout).toMatch(new RegExp(`^${pattern.join('')}$`));
  });
});
