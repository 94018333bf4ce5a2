/**
 * Who is there, and who does which part. One of three workers leaves; the others take over its parts.
 *
 *   node --import tsx examples/membership.ts
 *
 * @module
 */
import { once } from 'node:events';
import { json } from 'etcdkit';
import { Membership, Partitions, Session } from 'etcdkit/recipes';
import { connect } from './support/connect.ts';

await using etcd = await connect();
const sessions = await Promise.all([Session.open(etcd), Session.open(etcd), Session.open(etcd)]);

const groups = sessions.map((session) => new Membership(session, 'workers', { codec: json<{ zone: string }>() }));
const [first] = await Promise.all(groups.map((group, n) => group.join({ id: `worker-${n}`, data: { zone: 'a' } })));
const names = async () => ((await groups[1]?.members()) ?? []).map(({ id }) => id).sort();
console.log(`members: ${(await names()).join(', ')}`);
await first?.leave();
console.log(`after one has left: ${(await names()).join(', ')}`);

const stops = sessions.map(() => new AbortController());
const works = sessions.map((session, n) => {
  const { signal } = stops[n] as AbortController;
  const partitions = new Partitions(session, 'ingest', { partitions: 6 });
  // A part is worked on by one at a time: who is to give it up ends before the next begins.
  const run = partitions.run(async (_claim, ended) => void (await once(ended, 'abort')), { signal });
  return run.catch((error: unknown) => {
    if (!signal.aborted) throw error;
  });
});

const view = new Partitions(sessions[1], 'ingest', { partitions: 6 });
/** Waits until all six have an owner, and that many share them. */
async function shared(owners: number): Promise<string> {
  for (;;) {
    const of = new Map<string, number>();
    for (const { owner } of await view.owners()) of.set(owner, (of.get(owner) ?? 0) + 1);
    const counts = [...of.values()].sort();
    if (counts.length === owners && counts.reduce((a, b) => a + b, 0) === 6) return counts.join(' + ');
  }
}
console.log(`six parts among three workers: ${await shared(3)}`);
stops[0]?.abort();
console.log(`and among the two that stay: ${await shared(2)}`);
for (const stop of stops) stop.abort();
await Promise.all(works);
await Promise.all(sessions.map((session) => session.close()));
