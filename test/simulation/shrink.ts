/**
 * Makes a failing run smaller: which classes of faults does it need?
 *
 * Classes are taken out one at a time; what still breaks the same rule stays out. Since every class draws from streams
 * of its own, the others go on much as before. A run whose rule broke under faults is ended where it broke.
 *
 * Source: Zeller & Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (2002), in its simplest form.
 */
import { without } from './options.ts';
import { type RunOptions, type RunResult, simulate } from './simulation.ts';

/** The smallest run found that breaks the same rule; `failing` itself if nothing can be left out. */
export function shrink(failing: RunResult, run: RunOptions = {}): RunResult {
  const { violation, options } = failing;
  if (violation === undefined) return failing;
  // Healing has to be run to its end: what it waits for may take longer with other faults.
  const capped: RunOptions = violation.atUs < options.durationUs ? { ...run, endUs: violation.atUs } : run;
  let smallest = failing;
  // What could not go may be able to once others have gone.
  for (let before = -1; before !== smallest.options.faults.length; ) {
    before = smallest.options.faults.length;
    for (const fault of smallest.options.faults) {
      const result = simulate(without(smallest.options, fault), capped);
      if (result.violation?.invariant === violation.invariant) smallest = result;
    }
  }
  return smallest;
}
