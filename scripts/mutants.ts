/**
 * `npm run mutants`: the mutation gate of the Raft core.
 *
 * Puts one fault after the other into the core and runs its suites: traces, tests, simulator. Each fault has to be
 * caught by one of them, unless its entry says why none can see it. Arguments:
 *
 *     npm run mutants                    all of them, two at a time (about 20 minutes)
 *     npm run mutants -- vote-twice …    these
 *     npm run mutants -- --every 12      every twelfth, for CI
 *     npm run mutants -- --table         all of them, and writes docs/raft-mutants.md
 *
 * The last line is `N caught, N equivalent, N survived`; exit code 1 if any survived.
 *
 * @module
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Mutant } from '../test/server/raft/mutants/mutant.ts';
import { MUTANTS } from '../test/server/raft/mutants/table.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const RESULTS = join(ROOT, '.cache/mutants');
/** A fault may make a suite run for ever: that is noticed too. In processor time, as the machine may be busy. */
const LIMIT_SECONDS = 120;

const SUITES = ['traces', 'tests', 'simulator'] as const;
type Suite = (typeof SUITES)[number] | 'hang';

interface Verdict {
  readonly mutant: Mutant;
  /** How many tests of each suite failed. */
  readonly failed: ReadonlyMap<Suite, number>;
}

interface Report {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly assertionResults: readonly { readonly status: string }[];
  }[];
}

function suiteOf(file: string): Suite {
  if (file.includes('/test/simulation/')) return 'simulator';
  return /\/traces[./]/.test(file) ? 'traces' : 'tests';
}

async function run(name: string | undefined): Promise<ReadonlyMap<Suite, number>> {
  const output = join(RESULTS, `${name ?? 'none'}.json`);
  rmSync(output, { force: true });
  const child = spawn(
    'sh',
    [
      ...[
        '-c',
        `ulimit -t ${LIMIT_SECONDS} && exec "$@"`,
        'sh',
        process.execPath,
        'node_modules/vitest/vitest.mjs',
        'run',
      ],
      ...['--config', 'test/server/raft/mutants/vitest.config.ts'],
      ...['--reporter', 'json', '--outputFile', output],
    ],
    { cwd: ROOT, stdio: 'ignore', env: { ...process.env, ...(name !== undefined && { RAFT_MUTANT: name }) } },
  );
  const exitCode = await new Promise<number | null>((resolve) => child.once('exit', resolve));
  if (!existsSync(output)) return new Map([['hang', 1]]);
  const failed = new Map<Suite, number>();
  const { testResults } = JSON.parse(readFileSync(output, 'utf8')) as Report;
  for (const { name: file, status, assertionResults } of testResults) {
    const count = assertionResults.filter((result) => result.status === 'failed').length;
    // A file that could not even be loaded has no results of its own.
    const faults = count === 0 && status === 'failed' ? 1 : count;
    if (faults > 0) failed.set(suiteOf(file), (failed.get(suiteOf(file)) ?? 0) + faults);
  }
  // Whose worker was ended has no failed test.
  return failed.size === 0 && exitCode !== 0 ? new Map([['hang', 1]]) : failed;
}

function describe({ mutant, failed }: Verdict): string {
  if (failed.size > 0) return [...failed].map(([suite, count]) => `${suite} ${count}`).join(', ');
  return mutant.equivalent === undefined ? 'SURVIVED' : `equivalent: ${mutant.equivalent}`;
}

function table(verdicts: readonly Verdict[], totals: string): string {
  const cell = ({ failed, mutant }: Verdict, suite: Suite): string =>
    failed.has('hang') ? 'hangs' : String(failed.get(suite) ?? (mutant.equivalent === undefined ? '–' : '='));
  const rows = verdicts.map((verdict) => {
    const { name, rule, file } = verdict.mutant;
    return `| ${name} | \`${file}\` | ${rule} | ${SUITES.map((suite) => cell(verdict, suite)).join(' | ')} |`;
  });
  const equivalent = verdicts.filter(({ mutant }) => mutant.equivalent !== undefined);
  return [
    '# Faults put into the Raft core on purpose',
    '',
    'Written by `npm run mutants -- --table`. Each row takes one rule away from `src/server/raft/`; the numbers say how',
    'many tests of each suite failed. `–`: that suite did not notice. `=`: no suite can see it, for the reason below.',
    '',
    `**${totals}**`,
    '',
    '| Fault | File | Rule that it breaks | Traces | Tests | Simulator |',
    '| --- | --- | --- | --- | --- | --- |',
    ...rows,
    '',
    ...equivalent.map(({ mutant }) => `- **${mutant.name}**: ${mutant.equivalent}.`),
    '',
  ].join('\n');
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { every: { type: 'string' }, table: { type: 'boolean' } },
});
const unknown = positionals.filter((name) => !MUTANTS.some((mutant) => mutant.name === name));
if (unknown.length > 0) throw new Error(`no mutant is called ${unknown.join(', ')}`);
const every = Number(values.every ?? 1);
const chosen = MUTANTS.filter(({ name }, at) =>
  positionals.length > 0 ? positionals.includes(name) : at % every === 0,
);

mkdirSync(RESULTS, { recursive: true });
const healthy = await run(undefined);
if (healthy.size > 0) throw new Error(`the suites fail without any fault: ${[...healthy.keys()].join(', ')}`);

const verdicts: Verdict[] = [];
const queue = [...chosen];
const work = async (): Promise<void> => {
  for (let mutant = queue.shift(); mutant; mutant = queue.shift()) {
    const verdict = { mutant, failed: await run(mutant.name) };
    verdicts.push(verdict);
    console.log(`${verdicts.length}/${chosen.length} ${mutant.name}: ${describe(verdict)}`);
  }
};
await Promise.all([work(), work()]);

const caught = verdicts.filter(({ failed }) => failed.size > 0).length;
const equivalent = verdicts.filter(({ failed, mutant }) => failed.size === 0 && mutant.equivalent !== undefined).length;
const survived = verdicts.length - caught - equivalent;
const totals = `${caught} caught, ${equivalent} equivalent, ${survived} survived`;
verdicts.sort((a, b) => MUTANTS.indexOf(a.mutant) - MUTANTS.indexOf(b.mutant));
if (values.table) writeFileSync(join(ROOT, 'docs/raft-mutants.md'), table(verdicts, totals));
console.log(totals);
process.exitCode = survived === 0 ? 0 : 1;
