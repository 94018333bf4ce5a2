/**
 * What is known of the instances of one service: pure, fed with what the store tells.
 *
 * Three rules:
 * 1. One entry that cannot be used does not touch the others. It is noted as bad; an instance that was good before stays as
 *    it was, since its key says that it is there. It goes when its key goes. A full list is taken in by the same rule as a
 *    change, so a list after a compaction drops nothing that a watch would have kept.
 * 2. Of those that vanish, {@link Protection} says which stay as suspects.
 * 3. What changed is told as the difference between before and after, however many steps it took.
 *
 * @module
 */

import type { DiscoveryChange } from '../discovered.ts';
import { authorityOf, type ServiceInstance } from '../instance.ts';
import type { ServiceLayout } from '../record.ts';
import { Protection, type ProtectSettings } from './protection.ts';
import type { RawEntry } from './snapshot.ts';

/** A key under which there is nothing that can be used. */
export interface BadEntry {
  readonly key: string;
  /** What is wrong, in words without the value. */
  readonly problem: string;
}

/** What the store says about one key: a value, or that it is gone. */
export interface TableChange {
  readonly key: string;
  readonly value: Uint8Array | undefined;
}

interface Entry<M> extends RawEntry {
  readonly instance: ServiceInstance<M>;
}

/** See the head of this file. */
export class ServiceTable<M> {
  readonly #service: string;
  readonly #layout: ServiceLayout<M>;
  readonly #protection: Protection<Entry<M>>;
  /** Suspects are among them. */
  readonly #entries = new Map<string, Entry<M>>();
  readonly #bad = new Map<string, string>();
  #registered: readonly ServiceInstance<M>[] | undefined;
  #suspects: ReadonlySet<string> = NONE;

  constructor(service: string, layout: ServiceLayout<M>, protect: ProtectSettings, now: () => number) {
    this.#service = service;
    this.#layout = layout;
    this.#protection = new Protection(protect, now);
  }

  /** All instances, suspects too, sorted by id; the same array until something changes. */
  get registered(): readonly ServiceInstance<M>[] {
    this.#registered ??= Array.from(this.#entries.values(), ({ instance }) => instance).sort(byId);
    return this.#registered;
  }

  /** The ids of the suspects. */
  get suspects(): ReadonlySet<string> {
    return this.#suspects;
  }

  /** Sorted by key. */
  get bad(): readonly BadEntry[] {
    return Array.from(this.#bad, ([key, problem]) => ({ key, problem })).sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  /** The entries as the store had them. */
  get raw(): readonly RawEntry[] {
    return [...this.#entries.values()];
  }

  /** Takes in a list in place of everything: keys that are not in it have gone. */
  replace(list: readonly RawEntry[]): DiscoveryChange<M>[] {
    const present = new Set(list.map(({ key }) => key));
    const known = [...this.#entries.keys(), ...this.#bad.keys()];
    const suspects = this.#protection.suspects;
    const gone = known.filter((key) => !present.has(key) && !suspects.has(key));
    return this.apply([...list, ...gone.map((key) => ({ key, value: undefined }))]);
  }

  /** Takes in changes in their order. @returns what is different afterwards. */
  apply(changes: readonly TableChange[]): DiscoveryChange<M>[] {
    const before = new Map<string, Entry<M> | undefined>();
    const vanished = new Map<string, Entry<M>>();
    for (const { key, value } of changes) {
      const entry = this.#entries.get(key);
      if (!before.has(key)) before.set(key, entry);
      if (value !== undefined) {
        vanished.delete(key);
        this.#put(key, value);
        continue;
      }
      this.#bad.delete(key);
      // One that was down or draining has left, or was taken out; nobody misses it.
      if (entry?.instance.status === 'up') vanished.set(key, entry);
      this.#protection.returned(key);
      this.#entries.delete(key);
    }
    if (vanished.size > 0) this.#protect(vanished, before);
    this.#dropReplaced(before);
    return this.#difference(before);
  }

  #put(key: string, value: Uint8Array): void {
    this.#protection.returned(key);
    const known = this.#entries.get(key);
    if (known !== undefined && Buffer.from(value).equals(known.value)) {
      this.#bad.delete(key);
      return;
    }
    const decoded = this.#layout.decode(key, value, this.#service);
    if (decoded.problem !== undefined) {
      this.#bad.set(key, decoded.problem);
      return;
    }
    this.#bad.delete(key);
    this.#entries.set(key, { key, value, instance: decoded.instance });
  }

  #protect(vanished: ReadonlyMap<string, Entry<M>>, before: Map<string, unknown>): void {
    let remaining = 0;
    const { suspects } = this.#protection;
    for (const [key, { instance }] of this.#entries) {
      if (instance.status === 'up' && !suspects.has(key)) remaining += 1;
    }
    for (const [key, entry] of this.#protection.vanished(vanished, remaining)) {
      // It was told as removed before, and comes back.
      if (!before.has(key)) before.set(key, this.#entries.get(key));
      this.#entries.set(key, entry);
    }
  }

  /** An address that somebody else has registered is no longer that of a suspect: it was restarted under another id. */
  #dropReplaced(before: Map<string, Entry<M> | undefined>): void {
    const { suspects } = this.#protection;
    if (suspects.size === 0) return;
    const taken = new Set<string>();
    for (const [key, { instance }] of this.#entries) if (!suspects.has(key)) taken.add(authorityOf(instance));
    for (const key of [...suspects.keys()]) {
      const entry = this.#entries.get(key);
      if (entry === undefined || !taken.has(authorityOf(entry.instance))) continue;
      if (!before.has(key)) before.set(key, entry);
      this.#protection.returned(key);
      this.#entries.delete(key);
    }
  }

  /** To be called now and then while there are suspects; `away`: whether the store cannot be reached. */
  review(away: boolean): DiscoveryChange<M>[] {
    if (away) this.#protection.away();
    const before = new Map<string, Entry<M> | undefined>();
    for (const key of this.#protection.expire()) {
      before.set(key, this.#entries.get(key));
      this.#entries.delete(key);
    }
    return this.#difference(before);
  }

  #difference(before: ReadonlyMap<string, Entry<M> | undefined>): DiscoveryChange<M>[] {
    const changes: DiscoveryChange<M>[] = [];
    for (const [key, { instance: previous } = { instance: undefined }] of before) {
      const instance = this.#entries.get(key)?.instance;
      if (instance === previous) continue;
      if (instance !== undefined) changes.push({ type: previous ? 'updated' : 'added', instance, previous });
      else if (previous !== undefined) changes.push({ type: 'removed', instance: previous, previous });
    }
    if (changes.length > 0) this.#registered = undefined;
    const { suspects } = this.#protection;
    this.#suspects = suspects.size === 0 ? NONE : new Set(this.#idsOf(suspects.keys()));
    return changes;
  }

  *#idsOf(keys: Iterable<string>): Iterable<string> {
    for (const key of keys) {
      const entry = this.#entries.get(key);
      if (entry !== undefined) yield entry.instance.id;
    }
  }
}

const NONE: ReadonlySet<string> = new Set();

function byId(a: { readonly id: string }, b: { readonly id: string }): number {
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}
