/**
 * Telling a mass removal that is not to be believed from instances that have gone.
 *
 * An instance whose key goes has left, or died, or could not renew its lease. One that leaves says so first: its record is
 * `draining` before its key goes, and it is never protected. Of the others a few at a time have died; that is what leases
 * are for. When within a window more than a share of a service goes at once, it is likelier that the registry has forgotten
 * them than that they all died: the registry was away for longer than their leases, was restored from an older backup,
 * or cannot be reached from where they run. They come back by themselves as soon as they can register again. Until
 * then, and no longer than a grace, they stay in the list as *suspects*.
 *
 * What is done with suspects is decided elsewhere (`candidates.ts`): they are picked only when nobody else is left, unless
 * they have just answered a request. So an instance that did die gets no request while another lives, and a list is
 * never empty only because the registry lost its contents.
 *
 * The grace runs only while the store is followed: what cannot come back is not called gone.
 *
 * Sources: Eureka's self-preservation (leases stop expiring when fewer than 85 % are renewed; without a bound, so the dead
 * stay, spring-cloud-netflix #747), Nacos' `protectThreshold` and `namingPushEmptyProtection`, Envoy's panic threshold.
 *
 * Pure: told the time, it sets no timer.
 *
 * @module
 */

import { InvalidArgumentError } from '../../../src/index.ts';

/** When instances that vanished stay for a while. */
export interface ProtectOptions {
  /**
   * Above which share of a service's instances, from 0 to 1, those that vanish within the window are not believed gone.
   * Default 0.5: one of two is, both are not. 1 protects nothing, and 0 everything.
   */
  readonly share?: number | undefined;
  /** How long apart removals count as one, in milliseconds. Default 10,000: leases that end together end that far apart. */
  readonly windowMs?: number | undefined;
  /**
   * How long those that vanished stay at most, in milliseconds in which the store is followed. Default 30,000, which
   * is twice the default of a lease: longer than it takes an instance to register again.
   */
  readonly graceMs?: number | undefined;
}

/** The options, checked. */
export interface ProtectSettings {
  readonly share: number;
  readonly windowMs: number;
  readonly graceMs: number;
}

/** Checks the options. @throws InvalidArgumentError */
export function protectSettings(options: ProtectOptions | false): ProtectSettings {
  if (options === false) return { share: 1, windowMs: 0, graceMs: 0 };
  const { share = 0.5, windowMs = 10_000, graceMs = 30_000 } = options;
  if (!(share >= 0 && share <= 1)) throw new InvalidArgumentError(`protect.share ${share} is not between 0 and 1`);
  for (const [name, value] of Object.entries({ windowMs, graceMs })) {
    if (!(value >= 0 && value < Number.POSITIVE_INFINITY)) {
      throw new InvalidArgumentError(`protect.${name} ${value} is not a number of milliseconds`);
    }
  }
  return { share, windowMs, graceMs };
}

/** One that vanished. */
interface Vanished<E> {
  readonly entry: E;
  readonly at: number;
}

/** Keeps the suspects of one service; `E` is what is kept of an instance. */
export class Protection<E> {
  readonly #settings: ProtectSettings;
  readonly #now: () => number;
  /** Vanished within the window, and believed gone so far. By key. */
  readonly #recent = new Map<string, Vanished<E>>();
  readonly #suspects = new Map<string, Vanished<E>>();
  /** When the store was last seen away. */
  #awayAt = Number.NEGATIVE_INFINITY;

  constructor(settings: ProtectSettings, now: () => number) {
    this.#settings = settings;
    this.#now = now;
  }

  /** Those that are kept, by key. */
  get suspects(): ReadonlyMap<string, unknown> {
    return this.#suspects;
  }

  /**
   * Keys have gone without a word from their instances.
   *
   * @param gone what has gone, by key.
   * @param remaining how many others are registered.
   * @returns those that stay as suspects from now on: some of these, and some that were believed gone before.
   */
  vanished(gone: ReadonlyMap<string, E>, remaining: number): ReadonlyMap<string, E> {
    const at = this.#now();
    const { share, windowMs } = this.#settings;
    for (const [key, { at: then }] of this.#recent) if (at - then > windowMs) this.#recent.delete(key);
    for (const [key, entry] of gone) this.#recent.set(key, { entry, at });
    let lost = this.#recent.size;
    // Suspects of the same burst count with it: the later half of a burst is no different from the first.
    for (const { at: then } of this.#suspects.values()) if (at - then <= windowMs) lost += 1;
    if (lost <= share * (lost + remaining)) return new Map();
    const kept = new Map<string, E>();
    for (const [key, { entry }] of this.#recent) {
      kept.set(key, entry);
      // The grace of one that went earlier begins now as well: it is the burst that is doubted.
      this.#suspects.set(key, { entry, at });
    }
    this.#recent.clear();
    return kept;
  }

  /** The key is there again, or something has taken its place. */
  returned(key: string): void {
    this.#recent.delete(key);
    this.#suspects.delete(key);
  }

  /** To be called while the store cannot be reached. */
  away(): void {
    this.#awayAt = this.#now();
  }

  /** Ends the grace of those whose time is over. @returns their keys. */
  expire(): string[] {
    const before = this.#now() - this.#settings.graceMs;
    const over: string[] = [];
    for (const [key, { at }] of this.#suspects) if (Math.max(at, this.#awayAt) <= before) over.push(key);
    for (const key of over) this.#suspects.delete(key);
    return over;
  }
}
