/**
 * The work queue: no job is lost, and the write that goes with a job's ack is done once, together with it.
 *
 * By the keys: a job has one claim at a time, and none after its ack; so it is worked on again only when the claim before
 * has run out or was given back. Every so often a worker gives a job back, or sits on one until its time is over.
 */
import { UnknownOutcomeError } from '../../../../recipes/errors.ts';
import type { Job } from '../../../../recipes/queue/work/job.ts';
import { WorkQueue } from '../../../../recipes/queue/work/work-queue.ts';
import type { Session } from '../../../../recipes/session.ts';
import type { Etcd } from '../../../../src/index.ts';
import type { KeyEvent } from '../../../recipes/await-point-history.ts';
import { byRevision, lastPart } from './revisions.ts';
import { attempt, type Field, fired, many, rest, shifts, Work } from './work.ts';

/** Nothing is given up: a fault costs an attempt. */
const RULES = { maxAttempts: 1_000, visibilityMs: 2_000 };
/** Of so many jobs one is given back; of so many, one is sat on. */
const GIVEN_BACK = 7;
const SAT_ON = 31;

export class Working extends Work {
  readonly enqueued = new Set<string>();
  /** Those that are not in the queue, for certain. */
  readonly refused = new Set<string>();
  /** The claims' tokens under which jobs were acked, by the jobs' values. */
  readonly acked = new Map<string, bigint[]>();
  readonly #effects = `${this.name}-effects/`;
  readonly #board = `${this.name}/work/`;
  #claimed = 0;

  constructor() {
    super('work');
  }

  override users(field: Field): Promise<void>[] {
    return many(2, (i) => this.#produce(field, `p${i}`));
  }

  override followers(field: Field): Promise<void>[] {
    return many(3, () =>
      shifts(field, field.drained, (session) => {
        const queue = new WorkQueue(session, this.name, RULES);
        return async () => this.#work(session, await queue.claim({ signal: field.drained }));
      }),
    );
  }

  async #produce(field: Field, who: string): Promise<void> {
    let n = 0;
    await shifts(field, field.stop, (session) => {
      const queue = new WorkQueue(session, this.name, RULES);
      return async () => {
        const value = `${who}-${n}`;
        n += 1;
        const error = await attempt(async () => {
          await queue.enqueue(value, { delayMs: n % 5 === 0 ? 50 : 0 });
          this.enqueued.add(value);
        });
        if (error && !(error instanceof UnknownOutcomeError)) this.refused.add(value);
        if (error) throw error;
        await rest();
      };
    });
  }

  /** Whatever fails ends the session, and with it the claim. */
  async #work({ etcd }: Session, job: Job): Promise<void> {
    this.#claimed += 1;
    if (this.#claimed % GIVEN_BACK === 0) return await job.nack({ delayMs: this.#claimed % 2 === 0 ? 0 : 50 });
    if (this.#claimed % SAT_ON === 0) await fired(job.signal);
    await job.ack({ then: [etcd.op.put(this.#effects + job.value, String(job.token))] });
    this.acked.set(job.value, [...(this.acked.get(job.value) ?? []), job.token]);
    this.done += 1;
  }

  override async unsettled(etcd: Etcd): Promise<string | undefined> {
    const left = await etcd.count({ prefix: `${this.#board}jobs/` });
    return left === 0 ? undefined : `${left} jobs of ${this.name} are not done`;
  }

  override broken(events: readonly KeyEvent[]): string[] {
    const { effects, found } = this.#replay(events);
    for (const value of this.enqueued) if (!effects.has(value)) found.push(`${this.name} has lost ${value}`);
    for (const value of this.refused)
      if (effects.has(value)) found.push(`${this.name} did ${value}, which it had refused`);
    for (const [value, tokens] of this.acked)
      if (tokens.length > 1 || tokens[0] !== effects.get(value))
        found.push(`${this.name}: ${value} was acked by ${tokens}, and done by ${effects.get(value)}`);
    return found;
  }

  /** What the keys say: which claim each job was done by; and what they must not say. */
  #replay(events: readonly KeyEvent[]): { effects: Map<string, bigint>; found: string[] } {
    const found: string[] = [];
    const claims = `${this.#board}inflight/claims/`;
    const jobs = `${this.#board}jobs/`;
    const below = (prefix: string, changes: readonly KeyEvent[]) => changes.filter(({ key }) => key.startsWith(prefix));
    /** The claim of each job; what each job says; and by which claim it was done. */
    const held = new Map<string, KeyEvent>();
    const there = new Map<string, string>();
    const effects = new Map<string, bigint>();
    for (const { revision, puts, deletes } of byRevision(events)) {
      for (const { key, value } of below(jobs, puts)) there.set(lastPart(key), value);
      for (const claim of below(claims, puts)) {
        const id = lastPart(claim.key);
        const other = held.get(id);
        if (other !== undefined && other.key !== claim.key) found.push(`${this.name}: two claim ${id} at ${revision}`);
        if (!there.has(id)) found.push(`${this.name}: ${id} is claimed at ${revision} and is done`);
        held.set(id, claim);
      }
      const settled = below(jobs, deletes).map(({ key }) => lastPart(key));
      for (const { key, value: token } of below(this.#effects, puts)) {
        const value = lastPart(key);
        const id = settled.find((each) => there.get(each) === value) ?? '';
        const claim = held.get(id);
        const together = deletes.some((each) => each.key === claim?.key) && String(claim?.createRevision) === token;
        if (!together) found.push(`${this.name}: ${value} was done at ${revision} by ${token}, and not with its job`);
        if (effects.has(value)) found.push(`${this.name}: ${value} was done again at ${revision}`);
        effects.set(value, BigInt(token));
      }
      for (const id of settled) there.delete(id);
      for (const { key } of below(claims, deletes))
        if (held.get(lastPart(key))?.key === key) held.delete(lastPart(key));
    }
    if (there.size > 0) found.push(`${this.name} still has ${[...there.values()]}`);
    return { effects, found };
  }
}
