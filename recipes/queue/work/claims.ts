/**
 * Taking jobs: which one, and the transaction that claims it.
 *
 * A worker looks at the first few jobs that can be had and takes a random one of them, so
 * that workers rarely want the same. What else it saw it tries the next time without a look.
 * Who is beaten sees in the same answer what is left.
 * Workers that find nothing stand in line (line.ts), and one job wakes one of them.
 *
 * @module
 */

import {
  CompactedError,
  type Keyspace,
  type KeyValue,
  type Op,
  type RangeResult,
  type Revision,
  type WatchEvent,
} from '../../../src/index.ts';
import { type Contender, mayPass } from '../../contender.ts';
import { LostError } from '../../errors.ts';
import type { Attempted } from '../../line.ts';
import { patiently } from '../../patience.ts';
import type { Attempt, Task } from '../../receipts.ts';
import type { SessionUser } from '../../session.ts';
import { pause } from '../../waiting.ts';
import { type Board, jobIdOf, READY, readRecord, recordText, STATE } from './board.ts';
import { claimText, Job } from './job.ts';

type Look = readonly [Op<RangeResult<string>>, ...Op<KeyValue | undefined>[]];

/** How many of the first jobs a worker chooses from. */
const CHOICE = 16;

/** The jobs that a process has claimed, and how it claims more. @internal */
export class Claims<V> implements SessionUser {
  readonly #board: Board<V, never>;
  readonly #jobs = new Map<string, Job<V>>();
  readonly #stop = new AbortController();
  #watching: Promise<void> | undefined;
  #limit = CHOICE;
  /** Jobs that were to be had at the last look. Others may have them by now: to try costs no more than to look. */
  #known: KeyValue[] = [];

  constructor(board: Board<V, never>) {
    this.#board = board;
  }

  /** For the line: where jobs appear. */
  get items(): Keyspace<string, never> {
    return this.#board.keys;
  }

  /** Tries to claim a job. */
  async attempt(
    signal: AbortSignal,
    place: Contender | undefined,
    hint: WatchEvent<string> | undefined,
    patient: boolean,
  ): Promise<Attempted<Job<V>>> {
    const { receipts, session } = this.#board;
    for (;;) {
      const tried = new Map<string, KeyValue>();
      const sentAt = session.clock.now();
      const done = await receipts.run({ ...this.#task(place, hint, tried), patient }, signal);
      if (done.done) {
        const { receipt: id, revision: token, results } = done;
        const claimed = { id, token, ready: pick(tried, id), sentAt, payload: results?.[0] as KeyValue<V> | undefined };
        return { taken: await this.#claimed(claimed, signal) };
      }
      const [{ kvs, more, revision }] = done.seen;
      const left = kvs.filter(isJob);
      // Whatever is left was tried and refused although it had not changed: these have lost their payload.
      if (left.length > 0) await this.#sweepOut(left, signal);
      if (more && left.length === 0) this.#limit *= 8;
      if (more || left.length > 0) continue;
      return { awaited: { target: { prefix: READY }, from: (revision + 1n) as Revision }, contended: false };
    }
  }

  /** For the session's end: the watch stops; each job is told by itself. */
  async release(): Promise<void> {
    this.#stop.abort();
    await this.#watching;
  }

  #task(place: Contender | undefined, hint: WatchEvent<string> | undefined, tried: Map<string, KeyValue>): Task<Look> {
    const { keys, session, jobs, ownClaims, rules, name } = this.#board;
    const attempt = (kv: KeyValue): Attempt => {
      const id = kv.key.slice(READY.length);
      tried.set(id, kv);
      const key = ownClaims + id;
      const conditions = [keys.key(kv.key).unchangedSince(kv), jobs.key(id).exists];
      const then: Op<unknown>[] = [
        jobs.op.get(id),
        keys.op.delete(kv.key),
        keys.op.put(STATE + id, recordText(claimedRecord(kv, key))),
        keys.op.put(key, claimText(session.owner, rules.visibilityMs), { lease: session.lease }),
      ];
      if (place !== undefined) {
        conditions.push(...place.conditions);
        then.push(session.etcd.op.delete(place.key));
      }
      return { receipt: id, if: conditions, then };
    };
    const known = hint?.type === 'put' && isJob(hint.kv) ? hint.kv : this.#pickKnown();
    return {
      what: `claiming a job of the work queue ${name}`,
      look: [
        keys.op.range({ prefix: READY }, { limit: this.#limit }),
        ...(place === undefined ? [] : [session.etcd.op.get(place.key)]),
      ],
      first: known && attempt(known),
      next: ([{ kvs }, own]) => {
        if (place !== undefined && own?.lease === undefined) throw new LostError('the place in the line', 'key-gone');
        const isNew = (kv: KeyValue): boolean => tried.get(kv.key.slice(READY.length))?.modRevision !== kv.modRevision;
        this.#known = kvs.filter((kv) => isJob(kv) && isNew(kv));
        const kv = this.#pickKnown();
        return kv && attempt(kv);
      },
      late: (id, token) => this.#undo(id, pick(tried, id), token),
    };
  }

  #pickKnown(): KeyValue | undefined {
    const { random } = this.#board.session.etcd;
    return this.#known.splice(Math.floor(random() * this.#known.length), 1)[0];
  }

  async #claimed({ id, token, ready, sentAt, payload }: Claimed<V>, signal: AbortSignal): Promise<Job<V>> {
    const { jobs, ownClaims } = this.#board;
    const key = ownClaims + id;
    try {
      // Without it, the claim's answer was lost, and the payload with it.
      const read = payload ?? (await jobs.get(id, { signal }));
      if (read === undefined) throw new LostError(`the job ${id}`, 'key-gone');
      const onEnd = (): void => void this.#jobs.delete(key);
      const record = claimedRecord(ready, key);
      const job = new Job(this.#board, { id, key, token, record, payload: read, sentAt, onEnd });
      this.#jobs.set(key, job);
      this.#watch(token);
      return job;
    } catch (error) {
      await patiently(this.#board.session.clock, this.#undo(id, ready, token));
      throw error;
    }
  }

  /** Gives a job back that was claimed when its claimer had gone, until that is certain. */
  async #undo(id: string, ready: KeyValue, token: Revision): Promise<void> {
    const { keys, session, ownClaims } = this.#board;
    const claim = ownClaims + id;
    const moves = [keys.op.delete(claim), keys.op.delete(STATE + id), keys.op.put(READY + id, ready.value)];
    for (let tries = 0; session.lease.alive; tries++) {
      try {
        await keys.txn<readonly Op<unknown>[]>({ if: [keys.key(claim).createRevision.equals(token)], then: moves });
        return;
      } catch (error) {
        if (!mayPass(error)) throw error;
        await pause(session, tries, undefined);
      }
    }
  }

  /** Deletes the records of jobs whose payload is gone: an operator has deleted it. */
  async #sweepOut(records: readonly KeyValue[], signal: AbortSignal): Promise<void> {
    const { keys, jobs } = this.#board;
    for (const kv of records) {
      const conditions = [keys.key(kv.key).unchangedSince(kv), jobs.key(kv.key.slice(READY.length)).missing];
      await keys.txn({ if: conditions, then: [keys.op.delete(kv.key)] }, { signal });
    }
  }

  /** Notices when a claim is deleted behind our back: one watch for all jobs of this process. */
  #watch(from: Revision): void {
    if (this.#watching !== undefined) return;
    const { session } = this.#board;
    const leaveSession = session.use(this);
    const onSession = (): void => this.#stop.abort();
    session.signal.addEventListener('abort', onSession, { once: true });
    this.#watching = this.#follow(from).finally(() => {
      session.signal.removeEventListener('abort', onSession);
      leaveSession();
    });
  }

  async #follow(from: Revision): Promise<void> {
    const { keys, ownClaims } = this.#board;
    const { signal } = this.#stop;
    for (;;) {
      try {
        for await (const event of keys.watch({ prefix: ownClaims }, { from, only: 'delete', signal })) {
          if (event.type === 'delete') this.#gone(event.kv.key, event.revision);
        }
        return;
      } catch (error) {
        // With any other error only this early warning is gone: the store still decides, and the session still tells.
        if (!(error instanceof CompactedError)) return;
      }
      const seen = await keys.range({ prefix: ownClaims }, { keysOnly: true, signal }).catch(() => undefined);
      if (seen === undefined) return;
      const there = new Set(seen.kvs.map(({ key }) => key));
      for (const key of [...this.#jobs.keys()]) if (!there.has(key)) this.#gone(key, seen.revision);
      from = (seen.revision + 1n) as Revision;
    }
  }

  #gone(key: string, revision: Revision): void {
    const job = this.#jobs.get(key);
    // Of an earlier claim of the same job one may hear late.
    if (job !== undefined && revision > job.token) job.keyGone();
  }
}

/** What a claim came to. */
interface Claimed<V> {
  readonly id: string;
  readonly token: Revision;
  readonly ready: KeyValue;
  readonly sentAt: number;
  readonly payload: KeyValue<V> | undefined;
}

function isJob(kv: KeyValue): boolean {
  return jobIdOf(kv.key, READY) !== undefined;
}

function pick(tried: ReadonlyMap<string, KeyValue>, id: string): KeyValue {
  const kv = tried.get(id);
  if (kv === undefined) throw new TypeError('a job was claimed that nobody tried to claim');
  return kv;
}

function claimedRecord(ready: KeyValue, claim: string) {
  const record = readRecord(ready);
  return { ...record, attempts: record.attempts + 1, claim };
}
