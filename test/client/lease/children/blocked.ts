/** Holds a lease, blocks the event loop for longer than it lives, and prints what the first questions after that say. */
import { RealClient } from '../real-client.ts';

const [endpoint = '', ttlSeconds = '1', blockMs = '2500'] = process.argv.slice(2);
const client = new RealClient([endpoint]);
const lease = await client.leases.open({ ttlSeconds: Number(ttlSeconds) });
const { signal } = lease;
const answers: Record<string, unknown> = {};
let fired = false;
signal.addEventListener('abort', () => {
  fired = true;
});

const mode = process.argv[5];
const end = performance.now() + Number(blockMs);
while (performance.now() < end) {
  // nothing else runs
}
// Not one turn of the event loop has passed: no timer, no socket. Each question is the first one in a run of its own.
answers['firedByItself'] = fired;
if (mode === 'aborted') answers['first'] = signal.aborted;
if (mode === 'reason') answers['first'] = (signal.reason as { reason?: string } | undefined)?.reason;
if (mode === 'alive') answers['first'] = lease.alive;
if (mode === 'remainingMs') answers['first'] = lease.remainingMs();
if (mode === 'assertAlive') {
  try {
    lease.assertAlive();
    answers['first'] = 'alive';
  } catch (error) {
    answers['first'] = (error as { reason?: string }).reason;
  }
}
answers['firedAfterwards'] = fired;
answers['ttlSeconds'] = lease.ttlSeconds;
console.log(JSON.stringify(answers));
client[Symbol.dispose]();
