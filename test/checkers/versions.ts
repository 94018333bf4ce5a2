/**
 * All states that a log has been through, each of which can be asked for at any time.
 *
 * Built once; a state costs nothing until it is read, a key then costs a search in its versions.
 */
import { covers, type Finding, type KeyRange, type KeyVersion, type LogEntry } from './history.ts';
import { byKey, type View } from './kv-model.ts';

/** What the store held before the first entry of a log. */
export interface Start {
  readonly revision: number;
  readonly kvs: readonly KeyVersion[];
}

/** A store of etcd starts at revision 1, with nothing. */
export const EMPTY_START: Start = { revision: 1, kvs: [] };

/** The rules of the log itself: no revision left out, none without a change, each event with its revision. */
export function checkLog(log: readonly LogEntry[], start: Start = EMPTY_START): Finding[] {
  const findings: Finding[] = [];
  for (const [index, { revision, events }] of log.entries()) {
    const expected = start.revision + 1 + index;
    if (revision !== expected) {
      const message = `the log has revision ${revision} where ${expected} has to come`;
      return [...findings, { rule: 'log-dense', message }];
    }
    const other = events.find(({ kv }) => kv.modRevision !== revision);
    if (events.length === 0 || other !== undefined)
      findings.push({
        rule: 'log-entry',
        message: other
          ? `revision ${revision} has an event of revision ${other.kv.modRevision}, of ${other.kv.key}`
          : `revision ${revision} changes nothing`,
      });
  }
  return findings;
}

/** See the head of this file. The log has passed {@link checkLog}. */
export class Versions {
  readonly firstRevision: number;
  readonly lastRevision: number;
  readonly #log: readonly LogEntry[];
  /** In their order. */
  readonly #keys: readonly string[];
  /** Of each key what came of it, by revision; undefined: it was deleted. */
  readonly #versions = new Map<string, { readonly revision: number; readonly kv: KeyVersion | undefined }[]>();

  constructor(log: readonly LogEntry[], start: Start = EMPTY_START) {
    this.#log = log;
    this.firstRevision = start.revision;
    this.lastRevision = start.revision + log.length;
    for (const kv of start.kvs) this.#add(kv.key, start.revision, kv);
    for (const { revision, events } of log)
      for (const { type, kv } of events) this.#add(kv.key, revision, type === 'put' ? kv : undefined);
    this.#keys = [...this.#versions.keys()].sort((a, b) => (a < b ? -1 : 1));
  }

  /** What a revision has changed; undefined for those that are not in the log. */
  entry(revision: number): LogEntry | undefined {
    return this.#log[revision - this.firstRevision - 1];
  }

  /** The state at that revision; undefined if the log does not say. */
  at(revision: number): View | undefined {
    if (revision < this.firstRevision || revision > this.lastRevision) return undefined;
    return {
      revision,
      get: (key) => this.#find(key, revision),
      range: (range) => this.#range(range, revision),
      at: (earlier) => this.at(earlier),
    };
  }

  #add(key: string, revision: number, kv: KeyVersion | undefined): void {
    const versions = this.#versions.get(key);
    if (versions === undefined) this.#versions.set(key, [{ revision, kv }]);
    else versions.push({ revision, kv });
  }

  #range(range: KeyRange, revision: number): KeyVersion[] {
    const found: KeyVersion[] = [];
    const first = firstIndex(this.#keys.length, (index) => (this.#keys[index] as string) >= range.key);
    for (let index = first; index < this.#keys.length; index += 1) {
      const key = this.#keys[index] as string;
      if (!covers(range, key)) break;
      const kv = this.#find(key, revision);
      if (kv !== undefined) found.push(kv);
    }
    return found;
  }

  #find(key: string, revision: number): KeyVersion | undefined {
    const versions = this.#versions.get(key) ?? [];
    const after = firstIndex(versions.length, (index) => (versions[index]?.revision ?? 0) > revision);
    return versions[after - 1]?.kv;
  }
}

/** A state that is held whole: for few keys. */
export class HeldState implements View {
  readonly revision: number;
  readonly kvs: ReadonlyMap<string, KeyVersion>;
  readonly #before: HeldState | undefined;

  constructor(revision: number, kvs: ReadonlyMap<string, KeyVersion>, before?: HeldState) {
    this.revision = revision;
    this.kvs = kvs;
    this.#before = before;
  }

  /** The state after a revision that makes these changes. */
  after({ revision, events }: LogEntry): HeldState {
    const kvs = new Map(this.kvs);
    for (const { type, kv } of events) {
      if (type === 'put') kvs.set(kv.key, kv);
      else kvs.delete(kv.key);
    }
    return new HeldState(revision, kvs, this);
  }

  get(key: string): KeyVersion | undefined {
    return this.kvs.get(key);
  }

  range(range: KeyRange): KeyVersion[] {
    return [...this.kvs.values()].filter(({ key }) => covers(range, key)).sort(byKey);
  }

  at(revision: number): View | undefined {
    let state: HeldState | undefined = this;
    while (state !== undefined && state.revision > revision) state = state.#before;
    return state;
  }
}

/** The first index below `length` for which it holds, which is so for all after it; `length` if there is none. */
export function firstIndex(length: number, holdsFrom: (index: number) => boolean): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (holdsFrom(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}
