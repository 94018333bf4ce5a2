/** How long news took to spread through a fleet. Pure. */
import type { History, Life, Span } from './history.ts';

/** Of many times, in milliseconds. */
export interface Quantiles {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** Times from what a process did to what another one's list says, while the store was there and could be seen. */
export interface Latencies {
  /** From the call of `register` on. */
  readonly registerToSeen: Quantiles;
  /** From the call of `drain` on. */
  readonly drainToUnseen: Quantiles;
  /** From the process's death on; its time to live is part of it. */
  readonly killToUnseen: Quantiles;
  /** From the end of an outage or a cut until an observer followed everything again. */
  readonly backToFollowing: Quantiles;
}

/** Measures them; of registrations only those from `since` on, so that the fleet's own start does not count. */
export function latencies(history: History, since: number): Latencies {
  const times = { seen: [] as number[], drained: [] as number[], killed: [] as number[], following: [] as number[] };
  for (const observer of history.observers) {
    const { from = Number.POSITIVE_INFINITY, until, cuts, sightings, follows } = observer;
    const dark = [...history.outages, ...cuts];
    const measure = (into: number[], startAt: number | undefined, at: number): void => {
      if (startAt === undefined || startAt < from || at > until) return;
      if (!dark.some((span) => overlaps(span, { from: startAt, until: at }))) into.push(at - startAt);
    };
    const told = new Set<string>();
    for (const { id, at, listed } of sightings) {
      const life = history.lives.get(id);
      // The first time of each counts: what comes after it is no news.
      if (life === undefined || told.has(`${id} ${listed}`)) continue;
      told.add(`${id} ${listed}`);
      if (!listed) measureEnd(life, at, measure, times);
      else if (life.beganAt >= since) measure(times.seen, life.beganAt, at);
    }
    for (const span of dark) {
      // A short one may not have been noticed at all.
      const lost = follows.findLastIndex(({ at, following }) => !following && at >= span.from && at <= span.until);
      const again = follows[lost + 1];
      if (lost >= 0 && again !== undefined) times.following.push(again.at - span.until);
    }
  }
  return {
    registerToSeen: quantiles(times.seen),
    drainToUnseen: quantiles(times.drained),
    killToUnseen: quantiles(times.killed),
    backToFollowing: quantiles(times.following),
  };
}

function measureEnd(
  { how, drainsAt, goneAt }: Life,
  at: number,
  measure: (into: number[], startAt: number | undefined, at: number) => void,
  times: { readonly drained: number[]; readonly killed: number[] },
): void {
  if (how === 'killed') measure(times.killed, goneAt, at);
  else measure(times.drained, drainsAt, at);
}

function overlaps(a: Span, b: Span): boolean {
  return a.from <= b.until && b.from <= a.until;
}

function quantiles(times: number[]): Quantiles {
  const sorted = times.sort((a, b) => a - b);
  const at = (share: number): number =>
    Number((sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0).toFixed(1));
  return { count: sorted.length, p50: at(0.5), p99: at(0.99), max: at(1) };
}
