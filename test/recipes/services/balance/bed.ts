/** What the tests of the balancers share: instances, a clock that is set by hand, and a client that sends requests in virtual time. */
import type {
  Balancer,
  BalancerTools,
  Candidate,
  PickOptions,
  Report,
} from '../../../../recipes/services/balance/balancer.ts';
import { seededRandom } from '../../../../src/testing/seeded-random.ts';

export const SUCCESS: Report = { outcome: 'success', latencyMs: 1 };
export const FAILURE: Report = { outcome: 'failure', latencyMs: 1 };

export function instance(id: string, weight = 1, zone?: string): Candidate {
  return { id, weight, zone };
}

/** i000, i001, … */
export function instances(count: number, weight: (at: number) => number = () => 1): Candidate[] {
  return Array.from({ length: count }, (_, at) => instance(`i${String(at).padStart(3, '0')}`, weight(at)));
}

export interface Bed extends BalancerTools {
  nowMs: number;
}

export function bed(seed = 1): Bed {
  const made: Bed = { nowMs: 1_000, now: () => made.nowMs, random: seededRandom(seed) };
  return made;
}

/** Picks one after the other, each answered at once; the ids. */
export function sequence(
  balancer: Balancer<Candidate>,
  candidates: readonly Candidate[],
  count: number,
  options: PickOptions = {},
): string[] {
  return Array.from({ length: count }, () => {
    const picked = balancer.pick(candidates, options)!;
    balancer.done(picked, SUCCESS);
    return picked.id;
  });
}

export function countsOf(ids: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const id of ids) counts[id] = (counts[id] ?? 0) + 1;
  return counts;
}

export interface Load {
  readonly requests: number;
  /** The time between two requests. */
  readonly everyMs: number;
  /** What comes of a request; undefined for never an answer. */
  readonly answer: (id: string, startedAt: number) => Report | undefined;
}

/** Sends requests at a steady rate, and reports each when it ends, the last ones too. Gives the ids in the order of the picks. */
export function drive(
  tools: Bed,
  balancer: Balancer<Candidate>,
  candidates: readonly Candidate[],
  load: Load,
): string[] {
  const ids: string[] = [];
  const running: { readonly endsAt: number; readonly picked: Candidate; readonly report: Report }[] = [];
  const settle = (untilMs: number): void => {
    for (let next = running[0]; next !== undefined && next.endsAt <= untilMs; next = running[0]) {
      running.shift();
      tools.nowMs = next.endsAt;
      balancer.done(next.picked, next.report);
    }
    tools.nowMs = untilMs;
  };
  for (let n = 0; n < load.requests; n++) {
    settle(tools.nowMs + load.everyMs);
    const picked = balancer.pick(candidates, {})!;
    ids.push(picked.id);
    const report = load.answer(picked.id, tools.nowMs);
    if (report === undefined) continue;
    const endsAt = tools.nowMs + report.latencyMs;
    const at = running.findLastIndex((other) => other.endsAt <= endsAt) + 1;
    running.splice(at, 0, { endsAt, picked, report });
  }
  settle(running.at(-1)?.endsAt ?? tools.nowMs);
  return ids;
}

export function success(latencyMs: number): Report {
  return { outcome: 'success', latencyMs };
}

export function failure(latencyMs: number): Report {
  return { outcome: 'failure', latencyMs };
}
