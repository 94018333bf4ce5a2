/**
 * The judgement of a fleet's history. Pure.
 *
 * Three things are promised of discovery, and a fourth makes sure that the rest is not kept by standing still:
 *
 * 1. No request goes to an instance that has been gone for longer than its time to live and one propagation. One that was
 *    drained has said that it goes, so for it the time to live does not count. While the store is away nobody can know, and
 *    a server that starts gives every lease its whole time again: so an outage before the lease's end begins the count
 *    anew when the store is back.
 * 2. A healthy instance is in every observer's list one propagation after it was registered, and from then on never
 *    missing from it, whatever the store goes through.
 * 3. After an outage every observer follows again.
 * 4. In the end no list has an instance that is gone.
 *
 * How long a propagation may take is stated, not measured: a bound that grew with the slowest would forgive anything.
 */
import type { History, Life, Observer, Span } from './history.ts';

/** What is allowed, in milliseconds. */
export interface Allowances {
  /** The time to live of the instances' leases. */
  readonly ttlMs: number;
  /** By how much the server may be late in ending a lease: it looks twice a second. */
  readonly expiryMs: number;
  /** From a change in the store to the observers' lists. */
  readonly propagationMs: number;
  /** From the end of an outage to when a client has noticed: its pauses between two tries are that long. */
  readonly reconnectMs: number;
}

/** What was found, in words; all four are to be empty. */
export interface Verdict {
  /** Requests to instances that were gone for too long. */
  readonly strays: readonly string[];
  /** Healthy instances that were not in a list. */
  readonly missing: readonly string[];
  /** Observers that did not follow again in time. */
  readonly behind: readonly string[];
  /** Instances that are gone, and in a list in the end. */
  readonly leftovers: readonly string[];
}

/** Judges a history. */
export function judge(history: History, allowances: Allowances): Verdict {
  const verdict = {
    strays: [] as string[],
    missing: [] as string[],
    behind: [] as string[],
    leftovers: [] as string[],
  };
  for (const observer of history.observers) {
    const eye = new Eye(observer, history, allowances);
    verdict.strays.push(...eye.strays());
    verdict.missing.push(...eye.missing());
    verdict.behind.push(...eye.behind());
    verdict.leftovers.push(...eye.leftovers());
  }
  return verdict;
}

/** When something that takes a while has happened at the latest, if it begins anew, a while after it, with each outage. */
export function deadline(startAt: number, takesMs: number, outages: readonly Span[], resumesMs: number): number {
  let at = startAt + takesMs;
  for (const { from, until } of outages) {
    if (from <= at) at = Math.max(at, until + resumesMs + takesMs);
  }
  return at;
}

/** One observer, judged. */
class Eye {
  readonly #observer: Observer;
  readonly #history: History;
  readonly #allowances: Allowances;
  /** When this observer could not see the store. */
  readonly #dark: readonly Span[];
  /** When each instance was in its list. */
  readonly #listed = new Map<string, Span[]>();

  constructor(observer: Observer, history: History, allowances: Allowances) {
    this.#observer = observer;
    this.#history = history;
    this.#allowances = allowances;
    this.#dark = [...history.outages, ...observer.cuts].sort((a, b) => a.from - b.from);
    const since = new Map<string, number>();
    for (const { id, at, listed } of observer.sightings) {
      const from = since.get(id);
      if (listed) since.set(id, from ?? at);
      else if (from !== undefined) {
        this.#note(id, { from, until: at });
        since.delete(id);
      }
    }
    for (const [id, from] of since) this.#note(id, { from, until: Number.POSITIVE_INFINITY });
  }

  #note(id: string, span: Span): void {
    const spans = this.#listed.get(id);
    if (spans === undefined) this.#listed.set(id, [span]);
    else spans.push(span);
  }

  strays(): string[] {
    const found: string[] = [];
    for (const { id, at } of this.#observer.picks) {
      const life = this.#history.lives.get(id);
      if (life === undefined) found.push(`${this.#observer.name} picked ${id}, which never was`);
      else if (life.goneAt !== undefined && at > this.#unseenBy(life, life.goneAt)) {
        found.push(`${this.#observer.name} picked ${id} ${Math.round(at - life.goneAt)} ms after it was ${life.how}`);
      }
    }
    return found;
  }

  missing(): string[] {
    const found: string[] = [];
    const { name, from: awakeAt, until: asleepAt } = this.#observer;
    if (awakeAt === undefined) return [`${name} never had a list of every service`];
    for (const { id, readyAt, drainsAt, goneAt } of this.#history.lives.values()) {
      if (readyAt === undefined) continue;
      const from = Math.max(readyAt, awakeAt);
      const until = Math.min(drainsAt ?? goneAt ?? asleepAt, goneAt ?? asleepAt, asleepAt);
      const seenBy = this.#by(from);
      let reached = from;
      for (const span of [...(this.#listed.get(id) ?? []), { from: until, until }]) {
        const gap = { from: reached, until: Math.min(span.from, until) };
        // The way into the list takes a while; once in it, there is no way out before the instance leaves.
        const excused = reached === from && gap.until <= seenBy;
        if (gap.until > gap.from && !excused) {
          const what = reached === from ? 'did not have' : 'lost';
          found.push(
            `${name} ${what} ${id} for ${Math.round(gap.until - gap.from)} ms from ${Math.round(gap.from)} on`,
          );
        }
        reached = Math.max(reached, span.until);
      }
    }
    return found;
  }

  behind(): string[] {
    const { name, from = Number.POSITIVE_INFINITY, until, follows } = this.#observer;
    const found: string[] = [];
    for (const [index, { at, following }] of follows.entries()) {
      if (following || at < from) continue;
      const backAt = follows[index + 1]?.at ?? until;
      const dueAt = Math.max(this.#by(at), at + this.#allowances.reconnectMs + this.#allowances.propagationMs);
      if (backAt > dueAt) found.push(`${name} did not follow for ${Math.round(backAt - at)} ms`);
    }
    return found;
  }

  leftovers(): string[] {
    const found: string[] = [];
    const { name, until } = this.#observer;
    for (const [id, spans] of this.#listed) {
      if ((spans.at(-1)?.until ?? 0) <= until) continue;
      const life = this.#history.lives.get(id);
      const gone = life === undefined || (life.goneAt !== undefined && this.#unseenBy(life, life.goneAt) < until);
      if (gone) found.push(`${name} still had ${id} at its end`);
    }
    return found;
  }

  /** When a change in the store has come here at the latest. */
  #by(changedAt: number): number {
    const { propagationMs, reconnectMs } = this.#allowances;
    return deadline(changedAt, propagationMs, this.#dark, reconnectMs);
  }

  /** When an instance that went at `goneAt` is in no list any more. */
  #unseenBy(life: Life, goneAt: number): number {
    const { ttlMs, expiryMs } = this.#allowances;
    const { outages } = this.#history;
    const saidSo = outages.every(({ from, until }) => from > goneAt || until < (life.drainsAt ?? goneAt));
    if (life.how === 'drained' && saidSo) return this.#by(goneAt);
    return this.#by(deadline(goneAt, ttlMs + expiryMs, outages, 0));
  }
}
