/** Leads, blocks the event loop for longer than its lease lives, and prints what the first questions after that say. */
import { Election } from '../../../recipes/election/election.ts';
import { Session } from '../../../recipes/session.ts';
import { Etcd } from '../../../src/index.ts';

const [endpoint = '', name = '', blockMs = '0', question = 'aborted'] = process.argv.slice(2);
const etcd = new Etcd({ endpoints: [endpoint] });
const session = await Session.open(etcd, { ttlSeconds: 1 });
const leader = await new Election(session, name).campaign({ value: 'stalled' });
const { signal } = leader;

const end = performance.now() + Number(blockMs);
while (performance.now() < end) {
  // nothing else runs
}
// Not one turn of the event loop has passed: no timer, no socket.
let answer: unknown;
if (question === 'aborted') answer = signal.aborted;
if (question === 'kv') {
  answer = await leader.kv.put(`${name}-data`, 'stale').then(
    () => 'written',
    (error: unknown) => (error as { reason?: string }).reason,
  );
}
if (question === 'unfenced') {
  await etcd.put(`${name}-data`, 'stale');
  answer = 'written';
}
console.log(JSON.stringify(answer));
await session.close();
await etcd.close();
