/**
 * Sends the same random requests to the bundled server and to a real etcd 3.5, and compares every answer.
 *
 * Usage: `npm run differential -- [--requests N] [--seed S] [--no-shrink]`, by default 10,000 requests from seed 1 on.
 * A seed is good for 1000 requests, on two new servers; the next ones have the seeds after it. A difference prints its
 * seed, the request and both answers, then the fewest requests that show it. Ends with code 1 if there was any.
 *
 * @module
 */
import { parseArgs } from 'node:util';
import { describeDifference, firstDifferent, runSeed, STEPS_PER_SEED } from '../test/server/differential/run.ts';
import { shrink } from '../test/server/differential/shrink.ts';
import { describeStep } from '../test/server/differential/steps.ts';

const { values } = parseArgs({
  options: {
    requests: { type: 'string', default: '10000' },
    seed: { type: 'string', default: '1' },
    shrink: { type: 'boolean', default: true },
    kinds: { type: 'boolean', default: false },
  },
  allowNegative: true,
});

function wholeNumber(name: string, text: string): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number < 0) throw new Error(`--${name} takes a whole number`);
  return number;
}

const wanted = wholeNumber('requests', values.requests);
const deliberate = new Map<string, number>();
const seen = new Map<string, number>();
let requests = 0;
let differences = 0;
for (let seed = wholeNumber('seed', values.seed); requests < wanted; seed += 1) {
  const planned = Math.min(STEPS_PER_SEED, wanted - requests);
  const result = await runSeed(seed, planned);
  requests += planned;
  for (const [{ what }, times] of result.deliberate) deliberate.set(what, (deliberate.get(what) ?? 0) + times);
  for (const [kind, times] of result.seen) seen.set(kind, (seen.get(kind) ?? 0) + times);
  const { difference } = result;
  if (!difference) continue;
  differences += 1;
  console.log(describeDifference(difference));
  if (!values.shrink) continue;
  const shrunk = await shrink(difference.steps);
  if (!shrunk) console.log('  it does not come again');
  else {
    const { ours, theirs } = firstDifferent(shrunk.compared);
    console.log(`  ${shrunk.steps.length} steps show it:`);
    for (const step of shrunk.steps) console.log(`    ${describeStep(step)}`);
    console.log(`  ours:   ${ours}\n  theirs: ${theirs}`);
  }
}
for (const [what, times] of deliberate) console.log(`meant to differ, ${times} times: ${what}`);
if (values.kinds) for (const [kind, times] of [...seen].sort()) console.log(`${times} times: ${kind}`);
console.log(`${requests} requests, ${differences} differences`);
if (differences > 0) process.exitCode = 1;
