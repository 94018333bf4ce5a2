/**
 * Whether watchers were told what happened: all of it, once, in order, whole.
 *
 * The truth is the log. From it follows, for each watcher, the one row of events that it may be given; what it was
 * given is compared with that row, event by event, and its answers in between with the place reached so far:
 *
 * - order, no gap, no duplicate, nothing that is not asked for (range, filters), each event as the log has it;
 * - a revision is never split between answers, unless these are fragments of one;
 * - a progress revision is not ahead of events that have not been delivered, and does not go back within a stream;
 * - `prevKv` is the version before, where it was asked for, unless that is compacted;
 * - a watch that goes on after a break starts no later than after what it knows, and no earlier than after what it was
 *   given: a later start would lose events, an earlier one would repeat some;
 * - only who needs what is compacted is cancelled for it.
 *
 * The first broken rule ends the check of a watcher: what comes after means little.
 *
 * Source: etcd's api_guarantees (ordered, unique, reliable, atomic, resumable, bookmarkable).
 */
import { describeEvents, describeRange, differenceOf } from './describe.ts';
import { covers, type Finding, type KeyRange, type KeyVersion, type LogEntry, type LogEvent } from './history.ts';
import { EMPTY_START, firstIndex, type Start, Versions } from './versions.ts';

export interface WatchEvent extends LogEvent {
  readonly prevKv?: KeyVersion | undefined;
}

/** What a watcher was told, or did. Revisions are those of the headers, where nothing else is said. */
export type WatchStep =
  | { readonly kind: 'created'; readonly revision: number }
  | {
      readonly kind: 'events';
      readonly revision: number;
      readonly events: readonly WatchEvent[];
      /** More of the same answer follows. Default: false. */
      readonly fragment?: boolean | undefined;
    }
  | { readonly kind: 'progress'; readonly revision: number }
  /** The end, for this stream. `compactRevision`: because what is needed is gone. */
  | { readonly kind: 'canceled'; readonly compactRevision?: number | undefined }
  /** The watch has been asked for again, from that revision on; also after a break that nobody was told of. */
  | { readonly kind: 'resumed'; readonly startRevision: number };

export interface WatcherHistory {
  readonly name: string;
  readonly range: KeyRange;
  /** The first revision that was asked for. Default: 0, after the one at which it was created. */
  readonly startRevision?: number | undefined;
  readonly noPut?: boolean | undefined;
  readonly noDelete?: boolean | undefined;
  readonly prevKv?: boolean | undefined;
  /** In the order in which they came. */
  readonly steps: readonly WatchStep[];
  /** It has had time to get everything up to that revision. Default: 0, nothing is said about its end. */
  readonly completeTo?: number | undefined;
}

export interface WatchTruth {
  /** All revisions from the start's next one to the last there ever was. It is sound (`checkLog`). */
  readonly log: readonly LogEntry[];
  readonly start?: Start | undefined;
  /** Revisions at which compactions were asked for. Default: none. */
  readonly compactions?: readonly number[] | undefined;
}

/** A broken rule. */
export interface WatchFinding extends Finding {
  readonly watcher: string;
  /** Where. */
  readonly revision: number;
}

/** Does what the head of this file says: one finding for each watcher that was told something wrong. */
export function checkWatchers(truth: WatchTruth, watchers: readonly WatcherHistory[]): WatchFinding[] {
  const versions = new Versions(truth.log, truth.start ?? EMPTY_START);
  return watchers.flatMap((watcher): WatchFinding[] => {
    const found = new Follower(watcher, truth, versions).check();
    if (found === undefined) return [];
    const { rule, message, revision } = found;
    const name = `watcher ${watcher.name} on ${describeRange(watcher.range)}`;
    return [{ rule, watcher: watcher.name, revision, message: `${name}: ${message}` }];
  });
}

interface Problem extends Finding {
  readonly revision: number;
}

/** Goes through what one watcher was told. */
class Follower {
  readonly #watcher: WatcherHistory;
  readonly #versions: Versions;
  readonly #compactions: readonly number[];
  /** All that the watcher might ever be told, from the first revision of the log on. */
  readonly #wanted: readonly LogEvent[];
  /** In {@link #wanted}: what comes next; undefined until it is known where the watch starts. */
  #next: number | undefined;
  /** Everything up to there is known to the watcher: it was delivered, or a progress revision says so. */
  #known = 0;
  /** The revision of the last event. */
  #delivered = 0;
  /** The last revision that this stream has told, with an event or as progress. */
  #told = 0;
  /** Events of an answer that is not all there yet. */
  #fragments: WatchEvent[] = [];
  #created = false;
  #ended: 'canceled' | 'compacted' | undefined;
  #compactRevision = 0;

  constructor(watcher: WatcherHistory, { log, compactions = [] }: WatchTruth, versions: Versions) {
    this.#watcher = watcher;
    this.#versions = versions;
    this.#compactions = compactions;
    this.#wanted = log.flatMap(({ events }) => events).filter((event) => this.#wants(event));
    if (watcher.startRevision) this.#startAt(watcher.startRevision);
  }

  check(): Problem | undefined {
    for (const step of this.#watcher.steps) {
      const problem = this.#step(step);
      if (problem !== undefined) return problem;
    }
    const missing = this.#expected;
    const { completeTo = 0 } = this.#watcher;
    if (this.#ended !== undefined || missing === undefined || missing.kv.modRevision > completeTo) return undefined;
    const { modRevision } = missing.kv;
    return problem('gap', modRevision, `ends without ${name(missing)}, though it had time up to ${completeTo}`);
  }

  get #expected(): LogEvent | undefined {
    return this.#next === undefined ? undefined : this.#wanted[this.#next];
  }

  #wants({ type, kv }: LogEvent): boolean {
    const { range, noPut = false, noDelete = false } = this.#watcher;
    return covers(range, kv.key) && !(type === 'put' ? noPut : noDelete);
  }

  #startAt(revision: number): void {
    this.#next = firstIndex(this.#wanted.length, (index) => (this.#wanted[index]?.kv.modRevision ?? 0) >= revision);
    this.#known = revision - 1;
  }

  #step(step: WatchStep): Problem | undefined {
    if (step.kind === 'resumed') return this.#resumed(step.startRevision);
    if (this.#ended !== undefined)
      return problem('after-end', this.#delivered, `was told something (${step.kind}) after it was cancelled`);
    switch (step.kind) {
      case 'created':
        this.#created = true;
        if (this.#next === undefined) this.#startAt(step.revision + 1);
        return undefined;
      case 'events':
        return this.#events(step.events, step.revision, step.fragment ?? false);
      case 'progress':
        return this.#progressed(step.revision);
      case 'canceled':
        return this.#canceled(step.compactRevision ?? 0);
    }
  }

  #events(events: readonly WatchEvent[], revision: number, fragment: boolean): Problem | undefined {
    if (!this.#created) return problem('before-created', revision, 'got events before it was created');
    this.#fragments.push(...events);
    if (fragment) return undefined;
    const all = this.#fragments;
    this.#fragments = [];
    for (const event of all) {
      const wrong = this.#event(event);
      if (wrong !== undefined) return wrong;
    }
    const last = this.#delivered;
    const rest = this.#expected;
    if (all.length > 0 && rest?.kv.modRevision === last)
      return problem('split-revision', last, `got a part of revision ${last}; ${name(rest)} is not in the same answer`);
    if (revision < last)
      return problem('header-behind', last, `got events up to ${last} with a header of revision ${revision}`);
    this.#known = Math.max(this.#known, last);
    return undefined;
  }

  #event(event: WatchEvent): Problem | undefined {
    const expected = this.#expected;
    const { prevKv, ...bare } = event;
    if (expected === undefined || differenceOf(expected, bare) !== undefined) return this.#unexpected(event, expected);
    this.#next = (this.#next ?? 0) + 1;
    this.#delivered = event.kv.modRevision;
    this.#told = this.#delivered;
    return this.#previous(event);
  }

  /** Says what is wrong with an event that is not the one to come. */
  #unexpected(event: WatchEvent, expected: LogEvent | undefined): Problem {
    const { key, modRevision } = event.kv;
    const entry = this.#versions.entry(modRevision);
    const real = entry?.events.find(({ kv }) => kv.key === key);
    if (real === undefined) return problem('phantom-event', modRevision, `got ${name(event)}, which never happened`);
    if (!this.#wants(event) && !this.#wants(real))
      return problem('not-asked-for', modRevision, `got ${name(event)}, which it did not ask for`);
    const difference = differenceOf({ type: real.type, kv: real.kv }, { type: event.type, kv: event.kv });
    if (difference !== undefined)
      return problem('wrong-event', modRevision, `got ${name(event)} with another content: ${difference}`);
    const next = this.#next ?? 0;
    const index = this.#wanted.indexOf(real);
    const known = expected === undefined ? 'everything' : `everything before ${name(expected)}`;
    if (index < next) {
      const rule = modRevision <= this.#delivered ? 'duplicate' : 'before-start';
      return problem(rule, modRevision, `got ${name(event)} when it had, or had no wish for, ${known}`);
    }
    const missed = this.#wanted.slice(next, index);
    const rule = missed.some(({ kv }) => kv.modRevision === modRevision) ? 'order' : 'gap';
    return problem(
      rule,
      modRevision,
      `got ${name(event)} before, or without, ${missed.slice(0, 5).map(name).join(', ')}`,
    );
  }

  #previous({ type, kv, prevKv }: WatchEvent): Problem | undefined {
    const { key, modRevision } = kv;
    const which = name({ type, kv });
    if (!this.#watcher.prevKv)
      return prevKv && problem('prev-kv', modRevision, `got ${which} with a version before, which it did not ask for`);
    const before = this.#versions.at(modRevision - 1)?.get(key);
    if (prevKv === undefined && this.#compactions.some((revision) => revision >= modRevision)) return undefined;
    const difference = differenceOf(before, prevKv, 'the version before');
    return difference === undefined ? undefined : problem('prev-kv', modRevision, `got ${which}: ${difference}`);
  }

  #progressed(revision: number): Problem | undefined {
    const missing = this.#expected;
    if (missing !== undefined && missing.kv.modRevision <= revision)
      return problem('progress-ahead', revision, `was told of progress to ${revision} without ${name(missing)}`);
    if (revision > this.#versions.lastRevision)
      return problem('progress-ahead', revision, `was told of progress to ${revision}, which was never made`);
    if (revision < this.#told)
      return problem('progress-back', revision, `was told of progress to ${revision} when it was at ${this.#told}`);
    this.#told = revision;
    this.#known = Math.max(this.#known, revision);
    return undefined;
  }

  #canceled(compactRevision: number): Problem | undefined {
    this.#ended = compactRevision > 0 ? 'compacted' : 'canceled';
    this.#compactRevision = compactRevision;
    if (compactRevision === 0) return undefined;
    if (!this.#compactions.includes(compactRevision))
      return problem(
        'compaction',
        compactRevision,
        `was cancelled for a compaction at ${compactRevision}: there is none`,
      );
    const needed = this.#known + 1;
    if (compactRevision <= needed)
      return problem(
        'compaction',
        compactRevision,
        `was cancelled for the compaction at ${compactRevision}, though it needs nothing before ${needed}`,
      );
    return undefined;
  }

  #resumed(startRevision: number): Problem | undefined {
    const compacted = this.#ended === 'compacted';
    this.#ended = undefined;
    this.#created = false;
    this.#told = 0;
    this.#fragments = [];
    if (this.#next === undefined) {
      // It never was created: it may be asked for as often as it takes.
      if (startRevision > 0) this.#startAt(startRevision);
      return undefined;
    }
    const skips = `goes on at ${startRevision}, though it knows up to ${this.#known}`;
    if (startRevision === 0) return problem('resume-skips', this.#known, skips);
    if (startRevision <= this.#delivered)
      return problem(
        'resume-repeats',
        startRevision,
        `goes on at ${startRevision}, though it has had ${this.#delivered}`,
      );
    if (compacted) {
      if (startRevision < this.#compactRevision)
        return problem(
          'resume-compacted',
          startRevision,
          `goes on at ${startRevision}, which is compacted at ${this.#compactRevision}`,
        );
      this.#startAt(startRevision);
      return undefined;
    }
    if (startRevision > this.#known + 1) return problem('resume-skips', startRevision, skips);
    this.#startAt(startRevision);
    return undefined;
  }
}

function problem(rule: string, revision: number, message: string): Problem {
  return { rule, revision, message };
}

function name(event: LogEvent): string {
  return `${describeEvents([event])} of revision ${event.kv.modRevision}`;
}
