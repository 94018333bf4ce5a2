/**
 * Runs named steps, some at a time, prints one line for each, and counts.
 *
 * A step counts as one check unless it counts its own: a vitest run counts its tests. The
 * output of a step is shown only when it fails, so that a failure is not to be searched for.
 *
 * @module
 */
import { spawn } from 'node:child_process';
import path from 'node:path';

/** The project's folder. */
export const ROOT = path.join(import.meta.dirname, '..', '..');

/** How many checks passed and how many did not. */
export interface Counts {
  readonly passed: number;
  readonly failed: number;
  /** Those that did not, a line each, as far as they have names. */
  readonly failures: readonly string[];
}

/** One command. */
export interface Step {
  readonly name: string;
  /** A program of node_modules/.bin, or `node` or `npm`, and its arguments. */
  readonly command: readonly [program: string, ...args: string[]];
  /** Shows the output as it comes; for long steps that run alone. Default false. */
  readonly live?: boolean | undefined;
  /** Reads the counts when the command has ended. Default: 1, passed if the exit code is 0. */
  readonly count?: ((exitCode: number) => Counts) | undefined;
}

export const NO_COUNTS: Counts = { passed: 0, failed: 0, failures: [] };

export function addCounts(a: Counts, b: Counts): Counts {
  return { passed: a.passed + b.passed, failed: a.failed + b.failed, failures: [...a.failures, ...b.failures] };
}

/** Says at the very end how it went: what failed is not to be searched for in the output of all. */
export function conclude({ passed, failed, failures }: Counts): void {
  if (failures.length > 0) console.log(`failed:\n${failures.map((line) => `  ${line}`).join('\n')}`);
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed === 0 ? 0 : 1;
}

/** Runs the steps, at most `atOnce` at a time, in their order. Goes on after a failure. */
export async function runSteps(steps: readonly Step[], atOnce = 1): Promise<Counts> {
  const waiting = [...steps];
  let total = NO_COUNTS;
  const worker = async (): Promise<void> => {
    for (let step = waiting.shift(); step !== undefined; step = waiting.shift()) {
      // Not in one expression: it would read the total before the step, and lose what others add meanwhile.
      const counts = await runStep(step);
      total = addCounts(total, counts);
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, steps.length) }, worker));
  return total;
}

async function runStep(step: Step): Promise<Counts> {
  const startedAt = performance.now();
  if (step.live) console.log(`  …     ${step.name}`);
  const { exitCode, output } = await execute(step);
  const counts = step.count?.(exitCode) ?? countStep(step, exitCode);
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  const detail = counts.passed + counts.failed > 1 ? `  (${counts.passed} passed, ${counts.failed} failed)` : '';
  console.log(`  ${counts.failed === 0 ? 'ok   ' : 'FAIL '} ${step.name.padEnd(24)} ${seconds.padStart(6)} s${detail}`);
  if (counts.failed > 0 && output !== '') console.log(indent(output));
  return counts;
}

/** A step that is one check. */
function countStep({ name }: Step, exitCode: number): Counts {
  return exitCode === 0
    ? { passed: 1, failed: 0, failures: [] }
    : { passed: 0, failed: 1, failures: [`${name}: exit code ${exitCode}`] };
}

function execute({ command: [program, ...args], live }: Step): Promise<{ exitCode: number; output: string }> {
  const bin = path.join(ROOT, 'node_modules', '.bin');
  const env = { ...process.env, PATH: `${bin}${path.delimiter}${process.env.PATH ?? ''}` };
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      cwd: ROOT,
      env,
      stdio: ['ignore', live ? 'inherit' : 'pipe', live ? 'inherit' : 'pipe'],
    });
    let output = '';
    const collect = (chunk: Buffer): void => {
      output += chunk.toString();
    };
    child.stdout?.on('data', collect);
    child.stderr?.on('data', collect);
    child.on('error', (error) => resolve({ exitCode: 1, output: `${output}\n${error.message}` }));
    child.on('close', (code) => resolve({ exitCode: code ?? 1, output }));
  });
}

function indent(text: string): string {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => `        ${line}`)
    .join('\n');
}
