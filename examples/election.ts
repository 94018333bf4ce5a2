/**
 * One leader at a time. Each writes in its own term or not at all; an observer sees who follows whom.
 *
 *   node --import tsx examples/election.ts
 *
 * @module
 */
import { once } from 'node:events';
import { Election, ElectionView, LostError, Session } from 'etcdkit/recipes';
import { connect } from './support/connect.ts';

await using etcd = await connect();
const stop = new AbortController();

// Whoever looks on needs no session.
const observing = (async () => {
  for await (const state of new ElectionView(etcd, 'scheduler').observe({ signal: stop.signal })) {
    console.log(state.kind === 'leader' ? `${state.value} leads` : 'nobody leads');
    if (state.kind === 'leader' && state.value === 'grace') return;
  }
})();

const [ada, grace] = await Promise.all([Session.open(etcd), Session.open(etcd)]);
const leader = await new Election(ada, 'scheduler').campaign({ value: 'ada' });
await leader.kv.put('scheduler/last-run', 'by ada');

const next = new Election(grace, 'scheduler').campaign({ value: 'grace', timeoutMs: 30_000 });
await ada.lease.revoke(); // as when ada's process dies
if (!leader.signal.aborted) await once(leader.signal, 'abort');
const successor = await next;
await observing;

await successor.kv.put('scheduler/last-run', 'by grace');
const late = await leader.kv.put('scheduler/last-run', 'by ada, late').catch((error: unknown) => error);
console.log(`what ada writes after her term: ${late instanceof LostError ? 'refused' : 'written'}`);
console.log(`last run: ${(await etcd.get('scheduler/last-run'))?.value}`);
await grace.close();
