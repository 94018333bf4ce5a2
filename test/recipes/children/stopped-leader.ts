/**
 * Leads, and writes under its term as fast as it can, eight writes at a time, while its parent stops it (SIGSTOP) and
 * lets it go on. It takes no notice of that: it writes on, and says what became of the writes that it began after the
 * stop (each outcome once), and leaves one that is not fenced.
 */
import { writeSync } from 'node:fs';
import { Election } from '../../../recipes/election/election.ts';
import { Session } from '../../../recipes/session.ts';
import { stm } from '../../../recipes/stm/stm.ts';
import { Etcd } from '../../../src/index.ts';

/** A gap like this between two writes is the stop. */
const STOPPED_MS = 800;
/** Writes of each kind after it, at least. */
const WRITES = 10;

const [endpoints = '', name = ''] = process.argv.slice(2);
const etcd = new Etcd({ endpoints: endpoints.split(',') });
const session = await Session.open(etcd, { ttlSeconds: 1 });
const leader = await new Election(session, name).campaign();
const [data, value] = [`${name}-data`, String(leader.term)];
writeSync(1, `${JSON.stringify({ term: value })}\n`);

const outcomes: Record<string, string[]> = {};
let begunAt = performance.now();
let stopped = false;

/** One write; counted if it began after the stop. */
async function write(kind: string, work: () => Promise<unknown>): Promise<void> {
  const now = performance.now();
  stopped ||= now - begunAt > STOPPED_MS;
  begunAt = now;
  const counts = stopped;
  const outcome = await work().then(
    (done) => (done === false ? 'refused' : 'written'),
    (error: Error) => error.name,
  );
  if (!counts) return;
  outcomes[kind] = [...new Set(outcomes[kind]).add(outcome)];
}

const own = etcd.key(leader.key).createRevision.equals(leader.term);
const kinds: Record<string, () => Promise<unknown>> = {
  kv: () => leader.kv.put(data, value),
  guard: () => leader.guard({ then: [etcd.op.put(data, value)] }),
  stm: () => stm(etcd, (tx) => tx.put(data, value), { guard: leader, markerPrefix: false }),
  // The store's own word, from one that does not even look at the clock.
  bare: async () => (await etcd.txn({ if: [own], then: [etcd.op.put(data, value)] })).succeeded,
};
const writers = [...Object.entries(kinds), ...Object.entries(kinds)].map(async ([kind, work]) => {
  while (!stopped) await write(kind, work);
  for (let n = 0; n < WRITES / 2; n++) await write(kind, work);
});
await Promise.all(writers);
await etcd.put(`${name}-unfenced`, value);
writeSync(1, `${JSON.stringify(outcomes)}\n`);
await session.close();
await etcd.close();
