/** A run: one seed, one pair of new servers, so many steps. It ends at the first difference, since state may differ. */
import type { Deliberate } from './deliberate.ts';
import { Sequence } from './generate/sequence.ts';
import { type Compared, Pair } from './pair.ts';
import { describeStep, type Step } from './steps.ts';

/** Steps of one seed: enough to make some history, few enough to look at. */
export const STEPS_PER_SEED = 1_000;

export interface Difference {
  readonly seed: number;
  /** Of the step in the sequence, from 0 on. */
  readonly index: number;
  /** All steps up to it, and it. */
  readonly steps: readonly Step[];
  readonly compared: Compared;
}

export interface RunResult {
  readonly requests: number;
  readonly difference: Difference | undefined;
  /** How often each entry of the table was seen. */
  readonly deliberate: ReadonlyMap<Deliberate, number>;
  /** How often there was what: by the method, or the text of a refusal. */
  readonly seen: ReadonlyMap<string, number>;
}

export async function runSeed(seed: number, requests = STEPS_PER_SEED): Promise<RunResult> {
  await using pair = await Pair.start();
  const sequence = new Sequence(seed);
  const steps: Step[] = [];
  const deliberate = new Map<Deliberate, number>();
  const seen = new Map<string, number>();
  // One more at the end, for watchers.
  for (let index = 0; index <= requests; index += 1) {
    const step: Step = index === requests ? { kind: 'drain' } : sequence.next();
    steps.push(step);
    const compared = await pair.take(step);
    if (compared.deliberate) count(deliberate, compared.deliberate);
    else if (!compared.equal) {
      return { requests: index + 1, difference: { seed, index, steps, compared }, deliberate, seen };
    }
    count(seen, kindOf(step, compared));
    sequence.learn(step, compared.equal ? compared.answer : undefined);
  }
  return { requests, difference: undefined, deliberate, seen };
}

function count<K>(counts: Map<K, number>, key: K): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

function kindOf(step: Step, { theirs, answer }: Compared): string {
  if (step.kind !== 'call') return step.kind;
  return answer === undefined ? theirs : step.method.path;
}

/** What a difference is, and how to see it again. */
export function describeDifference({ seed, index, steps, compared }: Difference): string {
  const step = steps[index] as Step;
  const lines = firstDifferent(compared);
  return [
    `seed ${seed}, step ${index}: ${describeStep(step)}`,
    `  ours:   ${lines.ours}`,
    `  theirs: ${lines.theirs}`,
    `again: npm run differential -- --seed ${seed} --requests ${index + 1}`,
  ].join('\n');
}

/** Of texts of many lines, only what is after the last that both have. */
export function firstDifferent({ ours, theirs }: { ours: string; theirs: string }): { ours: string; theirs: string } {
  const [a, b] = [ours.split('\n'), theirs.split('\n')];
  const at = a.findIndex((line, i) => line !== b[i]);
  const from = at === -1 ? a.length : at;
  const part = (lines: string[]): string => lines.slice(from, from + 3).join('\n          ') || '(nothing more)';
  return { ours: part(a), theirs: part(b) };
}
