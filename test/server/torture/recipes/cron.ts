/**
 * The cron: each tick is claimed once, by one process, one after the other and none left out; what a run writes is
 * written once, under its claim. The time of day runs fast, and for each process a little ahead of the one before.
 */
import { Cron, type CronRun, type WallClock } from '../../../../recipes/cron/cron.ts';
import { RecipeError } from '../../../../recipes/errors.ts';
import type { Session } from '../../../../recipes/session.ts';
import { EtcdError, type Timer } from '../../../../src/index.ts';
import { systemClock } from '../../../../src/support/clock.ts';
import type { KeyEvent } from '../../../recipes/await-point-history.ts';
import { byRevision, isCreate, lastPart } from './revisions.ts';
import { type Field, many, shifts, Work } from './work.ts';

const JOB = 'tick';
const TICK_MS = 1_000;
/** So many ticks of a job that is due every second come in a second. */
const SPEED = 2;
const SKEW_MS = 300;
const BEGIN_MS = Date.parse('2026-07-01T12:00:00Z');

class FastWall implements WallClock {
  readonly #beginMs: number;

  constructor(aheadMs: number) {
    this.#beginMs = BEGIN_MS + aheadMs;
  }

  now(): number {
    return Math.floor(this.#beginMs + systemClock.now() * SPEED);
  }

  at(epochMs: number, callback: () => void): Timer {
    // Timers may fire a little early.
    return systemClock.after(Math.max(0, (epochMs - this.now()) / SPEED) + 1, callback, { background: true });
  }
}

export class Ticking extends Work {
  /** Ticks that handlers were called with. */
  readonly ran: string[] = [];
  readonly #effects = `${this.name}-effects/`;

  constructor() {
    super('cron');
  }

  override users(field: Field): Promise<void>[] {
    return many(3, (i) => shifts(field, field.stop, (session) => () => this.#run(session, i, field.stop)));
  }

  async #run(session: Session, user: number, signal: AbortSignal): Promise<void> {
    const handler = async ({ tick, held }: CronRun): Promise<void> => {
      this.ran.push(tick.toISOString());
      const effect = session.etcd.op.put(this.#effects + tick.toISOString(), String(held.token));
      await held.guard({ then: [effect] });
      this.done += 1;
    };
    const onError = (error: unknown): void => {
      if (!(error instanceof EtcdError || error instanceof RecipeError)) this.wrong.push(`${this.name}: ${error}`);
    };
    // However long nobody ran them, all ticks are made up for.
    const job = { name: JOB, schedule: '* * * * * *', handler, misfire: 'run-all', maxCatchUp: 1_000 } as const;
    const options = { wallClock: new FastWall(user * SKEW_MS), historyLimit: 10, onError };
    await new Cron(session, this.name, [{ ...job, overlap: 'wait' }], options).run({ signal });
  }

  override broken(events: readonly KeyEvent[]): string[] {
    const found: string[] = [];
    const [runs, claims] = [`${this.name}/${JOB}/runs/`, `${this.name}/${JOB}/claims/`];
    /** Claims that stand, by key. */
    const held = new Map<string, KeyEvent>();
    const effects = new Set<string>();
    let last: number | undefined;
    for (const { revision, puts, deletes } of byRevision(events)) {
      const begun = puts.filter((put) => put.key.startsWith(runs) && isCreate(put)).map(({ key }) => lastPart(key));
      const claimed = puts.filter((put) => put.key.startsWith(claims) && isCreate(put));
      for (const claim of claimed) held.set(claim.key, claim);
      if (held.size > 1) found.push(`${this.name}: two runs at once at ${revision}`);
      if (claimed.map(tickOf).join() !== begun.join())
        found.push(`${this.name}: ${begun} begun and ${claimed.map(tickOf)} claimed at ${revision}`);
      for (const tick of begun) {
        const at = Date.parse(tick);
        if (last !== undefined && at !== last + TICK_MS)
          found.push(`${this.name}: ${tick} comes after ${new Date(last).toISOString()} at ${revision}`);
        last = at;
      }
      for (const { key, value } of puts.filter((put) => put.key.startsWith(this.#effects))) {
        const tick = lastPart(key);
        const claim = [...held.values()].find((each) => String(each.createRevision) === value);
        if (claim === undefined || tickOf(claim) !== tick)
          found.push(`${this.name}: the run of ${tick} wrote at ${revision} without its claim`);
        if (effects.has(tick)) found.push(`${this.name}: the run of ${tick} wrote again at ${revision}`);
        effects.add(tick);
      }
      for (const { key } of deletes) held.delete(key);
    }
    if (new Set(this.ran).size < this.ran.length) found.push(`${this.name}: some of ${this.ran} ran twice`);
    return found;
  }
}

function tickOf({ value }: KeyEvent): string {
  return (JSON.parse(value) as { tick: string }).tick;
}
