/**
 * Clients that write and read, each one call after the other, at any member.
 *
 * Each value is written once, so that a read tells whose write it has seen. What has no answer is given up, and may
 * still take effect; what a member refuses for certain has none, and that is claimed in the history.
 */
import { KV } from '../../../src/protocol/generated/etcdserverpb.ts';
import { Refusals } from '../../../src/server/refusals.ts';
import { type Compare, type Op, Recorder, type Request, type Response } from '../../checkers/history.ts';
import {
  deleteMessage,
  deleteResponse,
  putMessage,
  putResponse,
  rangeMessage,
  rangeResponse,
  txnMessage,
  txnResponse,
} from '../../checkers/wire.ts';
import type { Random } from '../world/random.ts';
import type { CallEnd, Calls } from './calls.ts';
import type { MembersCluster } from './cluster.ts';
import type { Machine } from './machine.ts';

/** Refusals after which nothing has happened, nor will. */
const FOR_CERTAIN: ReadonlySet<string> = new Set(
  [
    Refusals.TooManyRequests,
    Refusals.NoSpace,
    Refusals.RequestTooLarge,
    Refusals.NotSupportedForLearner,
    Refusals.LeaseNotFound,
    Refusals.Compacted,
    Refusals.FutureRevision,
    Refusals.DeadlineExceeded,
    Refusals.ProposalDropped,
    Refusals.NoLeader,
  ].map(({ text }) => text),
);

export class Clients {
  readonly recorder = new Recorder();
  /** Revisions at which compactions were asked for. */
  readonly compactions: number[] = [];
  /** Calls that were answered, by machine. */
  readonly answered = new Map<Machine, number>();
  /** The highest revision that anybody has been told of. */
  revision = 1;
  readonly #cluster: MembersCluster;
  readonly #calls: Calls;
  readonly #random: Random;
  #values = 0;
  #running = true;

  constructor(cluster: MembersCluster, calls: Calls, random: Random) {
    this.#cluster = cluster;
    this.#calls = calls;
    this.#random = random;
  }

  /** Makes requests until {@link stop}. */
  run(): void {
    for (let client = 0; client < this.#cluster.options.clients; client += 1) this.#next(client);
  }

  stop(): void {
    this.#running = false;
  }

  /** Sends a request to a machine; the answer is taken down. */
  send(client: string, machine: Machine, request: Exclude<Request, { kind: 'revoke' }>, done: () => void): void {
    const { journal } = this.#cluster;
    const open = this.recorder.call(client, request);
    journal.note('client', machine.ordinal, 1);
    const end = <T>(read: (value: T) => Response) => {
      return (outcome: CallEnd<T>): void => {
        journal.note('client', machine.ordinal, outcome.type === 'answer' ? 2 : 3);
        if (outcome.type === 'answer') {
          const response = read(outcome.value);
          this.revision = Math.max(this.revision, response.revision);
          open.answered(response, outcome.session);
          this.#cluster.count('answered');
          this.answered.set(machine, (this.answered.get(machine) ?? 0) + 1);
        } else if (outcome.type === 'nobody' || (outcome.type === 'refused' && FOR_CERTAIN.has(outcome.text))) {
          open.failed();
        }
        done();
      };
    };
    const timeoutUs = this.#timeoutUs();
    const calls = this.#calls;
    if (request.kind === 'put') calls.unary(machine, KV.put, putMessage(request), timeoutUs, end(putResponse));
    else if (request.kind === 'range')
      calls.unary(machine, KV.range, rangeMessage(request), timeoutUs, end(rangeResponse));
    else if (request.kind === 'delete')
      calls.unary(machine, KV.deleteRange, deleteMessage(request), timeoutUs, end(deleteResponse));
    else calls.unary(machine, KV.txn, txnMessage(request), timeoutUs, end(txnResponse));
  }

  /** A value that nobody has written yet. */
  value(): string {
    this.#values += 1;
    const { maxValueBytes } = this.#cluster.options;
    // Some are longer than a sector of the disk, so that their records can be torn.
    const more = maxValueBytes > 0 && this.#random.chance(0.2) ? this.#random.below(maxValueBytes) : 0;
    return `v${this.#values}${'.'.repeat(more)}`;
  }

  #next(client: number): void {
    const delayUs = this.#random.below(2 * this.#cluster.options.thinkUs);
    this.#cluster.scheduler.after(delayUs, () => {
      if (!this.#running) return;
      const { machines } = this.#cluster;
      const { awake } = this.#cluster;
      const machine = this.#random.pick(awake.length > 0 && this.#random.chance(0.95) ? awake : machines);
      if (this.#cluster.options.faults.includes('compaction') && this.#random.chance(0.01)) this.#compact(machine);
      this.send(`c${client}`, machine, this.#draw(), () => this.#next(client));
    });
  }

  #compact(machine: Machine): void {
    const revision = this.revision - this.#random.below(20);
    if (revision < 2) return;
    this.compactions.push(revision);
    const request = { revision: BigInt(revision), physical: this.#random.chance(0.3) };
    this.#calls.unary(machine, KV.compact, request, this.#timeoutUs(), () => {});
  }

  #draw(): Exclude<Request, { kind: 'revoke' }> {
    const random = this.#random;
    if (random.chance(this.#cluster.options.readShare)) return this.#read();
    switch (random.below(6)) {
      case 0:
        return { kind: 'delete', ...this.#range(0.2), prevKv: random.chance(0.5) };
      case 1:
      case 2:
        return this.#txn();
      default:
        return { kind: 'put', key: this.#key(), value: this.value(), prevKv: random.chance(0.5) };
    }
  }

  #read(): Op {
    const random = this.#random;
    const serializable = random.chance(0.2);
    const limit = random.chance(0.1) ? random.between(1, 3) : undefined;
    return { kind: 'range', ...this.#range(0.5), serializable, limit, countOnly: random.chance(0.1) };
  }

  #txn(): Request & { kind: 'txn' } {
    const random = this.#random;
    const compares: Compare[] = [];
    for (let count = random.below(3); count > 0; count -= 1) compares.push(this.#compare());
    const key = this.#key();
    const success: Op[] = [{ kind: 'put', key, value: this.value(), prevKv: random.chance(0.5) }];
    if (random.chance(0.5)) success.push({ kind: 'range', ...this.#range(0.5) });
    if (random.chance(0.3)) success.push({ kind: 'put', key: `${key}x`, value: this.value() });
    const failure: Op[] = random.chance(0.6) ? [{ kind: 'range', ...this.#range(0.5) }] : [];
    return { kind: 'txn', compares, success, failure };
  }

  #compare(): Compare {
    const random = this.#random;
    const key = this.#key();
    const result = random.pick(['=', '!=', '<', '>'] as const);
    switch (random.below(3)) {
      case 0:
        return { key, target: 'value', result, operand: `v${random.below(this.#values + 1)}` };
      case 1:
        return { key, target: 'version', result, operand: random.below(4) };
      default:
        return { key, target: 'modRevision', result, operand: Math.max(0, this.revision - random.below(5)) };
    }
  }

  #key(): string {
    return `k${this.#random.below(this.#cluster.options.keys)}`;
  }

  #range(wide: number): { readonly key: string; readonly end?: string } {
    return this.#random.chance(wide) ? { key: 'k', end: 'l' } : { key: this.#key() };
  }

  /** Some give up soon, some wait for what a member can make of it. */
  #timeoutUs(): number {
    return this.#random.pick([300, 2000, 9000]) * 1000;
  }
}
