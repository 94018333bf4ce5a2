/**
 * What clients do: write and read, at any member.
 *
 * Each write has a number of its own, each read a context of its own. A request that gets no answer is not repeated
 * here; after healing, `heal.ts` asks until it is served.
 */
import type { Entry } from '../../src/server/raft/index.ts';
import type { Cluster } from './cluster/cluster.ts';
import type { Member } from './cluster/member.ts';
import { numberOf } from './oracle/reads.ts';
import { expect } from './oracle/violation.ts';
import type { Random } from './world/random.ts';

export class Workload {
  readonly #cluster: Cluster;
  readonly #random: Random;
  #writes = 0;
  /** By number: at which member a write that is not acknowledged yet was made. */
  readonly #unacknowledged = new Map<number, Member>();
  readonly #refused = new Set<number>();
  readonly #unserved = new Set<number>();
  readonly #acknowledged = new Map<Member, number>();
  readonly #served = new Map<Member, number>();
  #running = true;

  constructor(cluster: Cluster, random: Random) {
    this.#cluster = cluster;
    this.#random = random;
    cluster.events.applied = (member, entry) => this.#applied(member, entry);
    cluster.events.served = (member, { context }) => {
      if (this.#unserved.delete(numberOf(context))) increment(this.#served, member);
    };
  }

  /** Writes that were made at that member and that it has applied. */
  acknowledgedBy(member: Member): number {
    return this.#acknowledged.get(member) ?? 0;
  }

  /** Reads that this member has answered. */
  servedBy(member: Member): number {
    return this.#served.get(member) ?? 0;
  }

  /** Makes requests until `stop`. */
  run(): void {
    const { clientEveryUs } = this.#cluster.options;
    this.#cluster.scheduler.after(this.#random.below(2 * clientEveryUs), () => {
      if (!this.#running) return;
      const { awake } = this.#cluster;
      if (awake.length > 0) this.#request(this.#random.pick(awake));
      this.run();
    });
  }

  stop(): void {
    this.#running = false;
  }

  /** Writes at that member. */
  write(member: Member): void {
    const number = this.#writes;
    this.#writes += 1;
    const data = new Uint8Array(this.#random.between(4, this.#cluster.options.maxPayloadBytes));
    for (let byte = 0; byte < 4; byte += 1) data[byte] = number >>> (8 * byte);
    this.#cluster.journal.note('client', member.ordinal, number);
    this.#unacknowledged.set(number, member);
    if (member.propose(data) === undefined) return;
    this.#unacknowledged.delete(number);
    this.#refused.add(number);
  }

  /** Reads at that member. */
  read(member: Member): void {
    const context = this.#cluster.oracle.reads.begin();
    this.#cluster.journal.note('client', member.ordinal, -1 - numberOf(context));
    this.#unserved.add(numberOf(context));
    member.act((node) => node.readIndex(context));
  }

  #request(member: Member): void {
    if (this.#random.chance(this.#cluster.options.readShare)) this.read(member);
    else this.write(member);
  }

  #applied(member: Member, { data }: Entry): void {
    if (data.length < 4) return;
    const number = numberOf(data.subarray(0, 4));
    expect(number < this.#writes && !this.#refused.has(number), 'S5 state machine safety', () => {
      return `write ${number} is applied, which was refused or never made`;
    });
    if (this.#unacknowledged.get(number) !== member) return;
    this.#unacknowledged.delete(number);
    increment(this.#acknowledged, member);
    this.#cluster.oracle.coverage.writes += 1;
  }
}

function increment(counts: Map<Member, number>, member: Member): void {
  counts.set(member, (counts.get(member) ?? 0) + 1);
}
