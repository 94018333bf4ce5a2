/**
 * What of a job is in the store.
 *
 * - `<cron>/<job>/last`: the newest tick that is settled. Only ever moves forward, each time
 *   under the condition that nobody has moved it since it was read. Hangs on no lease:
 *   what has run must be known when its runner is gone.
 * - `<cron>/<job>/runs/<tick>`: what became of a tick. The newest few are kept.
 * - `<cron>/<job>/claims/<lease>-<nonce>`: somebody runs it; hangs on their session's lease.
 *
 * @module
 */

import type { Etcd, KeyValue, Op, RangeResult, Revision, Target } from '../../src/index.ts';
import { type Owner, parseOwner, recipePrefix } from '../names.ts';
import { toMs, toText } from './schedule.ts';

/** What became of a tick. */
export type RunStatus =
  /** It is being run. */
  | 'running'
  | 'done'
  /** The handler threw. */
  | 'failed'
  /** Whoever ran it lost the session, or its process died. It is not run again. */
  | 'lost'
  /** The run before was not over yet. */
  | 'skipped';

/** A tick in a job's history. */
export interface CronRecord {
  /** When it was due. */
  readonly tick: Date;
  readonly status: RunStatus;
  /** Who ran it. */
  readonly owner: Owner | undefined;
  /** By the runner's clock; undefined for a tick that was skipped. */
  readonly startedAt: Date | undefined;
  /** By the runner's clock; undefined until it has ended, and when it was lost. */
  readonly finishedAt: Date | undefined;
  /** How many ticks before it were passed over: nobody was there to run them. */
  readonly missed: number;
}

/** A {@link CronRecord} as it is stored, beside the {@link Owner}'s fields. */
export interface StoredRun {
  readonly status: RunStatus;
  readonly startedAt?: string | undefined;
  readonly finishedAt?: string | undefined;
  readonly missed?: number | undefined;
}

/** What was seen of a job. */
export interface JobView {
  readonly last: KeyValue<string> | undefined;
  /** The newest tick that is settled; undefined when that is not known. */
  readonly lastTick: number | undefined;
  readonly runs: readonly KeyValue<string>[];
  /** By whom it is being run. */
  readonly claims: readonly KeyValue<string>[];
  readonly revision: Revision;
}

/** The keys of one job. */
export class JobKeys {
  readonly prefix: string;
  readonly last: string;
  readonly runs: string;
  readonly claims: string;

  /** @throws InvalidArgumentError for a name that is empty. */
  constructor(cron: string, job: string) {
    this.prefix = recipePrefix(cron) + recipePrefix(job);
    this.last = `${this.prefix}last`;
    this.runs = `${this.prefix}runs/`;
    this.claims = `${this.prefix}claims/`;
  }

  run(tick: number): string {
    return this.runs + toText(tick);
  }

  /** Reads all of it: a few keys, since the history is short. */
  look(etcd: Etcd): Op<RangeResult<string>> {
    return etcd.op.range({ prefix: this.prefix });
  }

  view({ kvs, revision }: RangeResult<string>): JobView {
    const last = kvs.find((kv) => kv.key === this.last);
    return {
      last,
      lastTick: toMs(last?.value),
      runs: kvs.filter((kv) => kv.key.startsWith(this.runs)),
      // A key without a lease has strayed here: it runs nothing.
      claims: kvs.filter((kv) => kv.key.startsWith(this.claims) && kv.lease !== undefined),
      revision,
    };
  }

  /** When the latest of the runs under way began, by its runner's clock. */
  latestStart({ claims }: JobView): number | undefined {
    const starts = claims.map((kv) => toMs(parse<StoredRun>(kv.value).startedAt));
    return starts.reduce((a, b) => (a === undefined || (b !== undefined && b > a) ? b : a), undefined);
  }

  /** The runs that are older than the newest `keep`; undefined when there are none. */
  old(runs: readonly KeyValue<string>[], keep: number): Target | undefined {
    const oldest = runs.at(-keep);
    return oldest === undefined || runs.length <= keep ? undefined : { from: this.runs, to: oldest.key };
  }

  /** The history as it was seen, newest first. */
  records({ runs, claims }: JobView): CronRecord[] {
    const running = new Set(claims.map((kv) => parse<{ tick: string }>(kv.value).tick));
    return runs
      .map((kv) => {
        const tick = kv.key.slice(this.runs.length);
        const { status = 'lost', startedAt, finishedAt, missed = 0 } = parse<StoredRun>(kv.value);
        const [started, finished] = [toMs(startedAt), toMs(finishedAt)];
        return {
          tick: new Date(tick),
          status: status === 'running' && !running.has(tick) ? ('lost' as const) : status,
          owner: parseOwner(kv.value),
          startedAt: started === undefined ? undefined : new Date(started),
          finishedAt: finished === undefined ? undefined : new Date(finished),
          missed,
        };
      })
      .reverse();
  }
}

/** Reads an object of JSON; anything else is an empty one. */
function parse<T>(text: string): Partial<T> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : {};
  } catch {
    return {};
  }
}
