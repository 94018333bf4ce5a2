/**
 * `npm run mutants:members`: the mutation gate of the simulator of whole members.
 *
 * Puts one fault after the other into the server and runs seeds until one breaks a rule. Each fault has to be noticed,
 * unless its entry says why none can see it. Arguments:
 *
 *     npm run mutants:members                    all of them
 *     npm run mutants:members -- forgets-votes … these
 *     npm run mutants:members -- --every 9       every ninth, for CI, and those that have runs of their own
 *     npm run mutants:members -- --seeds 500     so many seeds at most for each; by default 300
 *
 * The last line is `N caught, N equivalent, N survived`; exit code 1 if any survived.
 *
 * @module
 */
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { MEMBER_MUTANTS } from '../test/simulation/members/mutants/table.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const RESULTS = join(ROOT, '.cache/member-mutants');
/** A fault may make a run go on for ever: that is noticed too. In processor time, as the machine may be busy. */
const LIMIT_SECONDS = 240;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { every: { type: 'string', default: '1' }, seeds: { type: 'string', default: '300' } },
});
const unknown = positionals.filter((name) => !MEMBER_MUTANTS.some((mutant) => mutant.name === name));
if (unknown.length > 0) throw new Error(`no mutant is called ${unknown.join(', ')}`);
const chosen = MEMBER_MUTANTS.filter(({ name, scenario }, at) =>
  positionals.length > 0 ? positionals.includes(name) : scenario || at % Number(values.every) === 0,
);

/** What was noticed; undefined: nothing. */
async function run(name: string): Promise<string | undefined> {
  const output = join(RESULTS, `${name}.json`);
  rmSync(output, { force: true });
  const vitest = [process.execPath, 'node_modules/vitest/vitest.mjs', 'run'];
  const flags = ['--config', 'test/simulation/members/mutants/vitest.config.ts', '--reporter', 'json'];
  const limited = ['-c', `ulimit -t ${LIMIT_SECONDS} && exec "$@"`, 'sh', ...vitest, ...flags, '--outputFile', output];
  const env = { ...process.env, MEMBER_MUTANT: name, MEMBER_SEEDS: values.seeds };
  const child = spawn('sh', limited, { cwd: ROOT, stdio: 'ignore', env });
  const exitCode = await new Promise<number | null>((resolve) => child.once('exit', resolve));
  if (exitCode === 0) return undefined;
  try {
    return /seed \d+, [^\n'"\\]+/.exec(readFileSync(output, 'utf8'))?.[0] ?? 'the run failed';
  } catch {
    return 'hangs';
  }
}

mkdirSync(RESULTS, { recursive: true });
const counts = { caught: 0, equivalent: 0, survived: 0 };
for (const [at, { name, equivalent }] of chosen.entries()) {
  const noticed = await run(name);
  const verdict = noticed ? 'caught' : equivalent ? 'equivalent' : 'survived';
  counts[verdict] += 1;
  console.log(`${at + 1}/${chosen.length} ${name}: ${noticed ?? equivalent ?? 'SURVIVED'}`);
}
console.log(`${counts.caught} caught, ${counts.equivalent} equivalent, ${counts.survived} survived`);
process.exitCode = counts.survived === 0 ? 0 : 1;
