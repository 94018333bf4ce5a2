/**
 * Kills the bundled server under load, again and again, and checks each time that nothing acknowledged is lost.
 *
 * Usage: `npm run torture -- [--kills N] [--seed S]`, by default 1,000 kills from seed 1 on. Ends with code 1 if
 * anything was broken, and says what, in which life, and the server's log of that life.
 *
 * @module
 */
import { parseArgs } from 'node:util';
import { torture } from '../test/server/torture/torture.ts';

const { values } = parseArgs({
  options: { kills: { type: 'string', default: '1000' }, seed: { type: 'string', default: '1' } },
});

function wholeNumber(name: string, text: string): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number < 0) throw new Error(`--${name} takes a whole number`);
  return number;
}

const begunAt = performance.now();
try {
  const report = await torture({
    kills: wholeNumber('kills', values.kills),
    seed: wholeNumber('seed', values.seed),
    tell: (line) => console.log(line),
  });
  console.log(JSON.stringify({ ...report, seconds: Math.round((performance.now() - begunAt) / 1000) }));
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
