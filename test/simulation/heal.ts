/**
 * Ends all faults and looks whether the cluster comes back: one leader, everybody equal, reads and writes served, and
 * no further change of leader.
 *
 * Where the options leave out what protects a cluster from members that were removed (pre-votes, check of the quorum,
 * stepping down), somebody has to stop those members, as an operator would.
 */
import { LEAVE_JOINT } from '../../src/server/raft/index.ts';
import type { Cluster } from './cluster/cluster.ts';
import type { Member } from './cluster/member.ts';
import { retire } from './faults/membership.ts';
import { effective, type Options } from './options.ts';
import { Violation } from './oracle/violation.ts';
import type { Workload } from './workload.ts';

const MS = 1000;
/** Between two looks. */
const POLL_US = 20 * MS;
/** What was sent before is delivered within this time, or lost. */
const FLUSH_US = 100 * MS;
/** A leader must stay for so many election timeouts. */
const CALM_TIMEOUTS = 6;
/** Reports about snapshots may be that late, and disks may stand still that long. */
const LATEST_US = 5000 * MS;

/** The same options without any trouble. */
function calm(options: Options): Options {
  return {
    ...effective({
      ...options,
      faults: options.faults.filter((fault) => fault === 'compaction' || fault === 'limits'),
    }),
    network: {
      dropChance: 0,
      duplicateChance: 0,
      minDelayUs: 200,
      jitterUs: 300,
      slowChance: 0,
      slowUs: 0,
      ordered: true,
    },
    disk: { minSyncUs: 100, jitterUs: 200, slowChance: 0, slowUs: 0, harsh: false },
  };
}

/** How much a member has served. */
interface Served {
  readonly acknowledged: number;
  readonly served: number;
}

export class Healing {
  readonly #cluster: Cluster;
  readonly #workload: Workload;
  readonly #stopsRemoved: boolean;
  readonly #runUntil: (atUs: number) => void;
  /** What each member had served when it was first looked at. */
  readonly #counts = new Map<Member, Served>();

  /** @param stopsRemoved Whether somebody stops members that were removed. */
  constructor(cluster: Cluster, workload: Workload, stopsRemoved: boolean, runUntil: (atUs: number) => void) {
    this.#cluster = cluster;
    this.#workload = workload;
    this.#stopsRemoved = stopsRemoved;
    this.#runUntil = runUntil;
  }

  /** @throws Violation when the cluster does not come back. */
  run(): void {
    const { electionTicks, tickMs } = this.#cluster.options;
    const electionUs = electionTicks * tickMs * MS;
    this.#endFaults();
    // What is underway, and a leadership that is being handed over, may still come to something.
    this.#runUntil(this.#cluster.scheduler.nowUs + FLUSH_US + 2 * electionUs);
    this.#until('does not converge', LATEST_US + 60 * electionUs, () => this.#converged());
    const leader = this.#cluster.leader as Member;
    const { term } = leader.node.raft;
    this.#until('does not serve', LATEST_US, () => this.#serves(), true);
    const endUs = this.#cluster.scheduler.nowUs + CALM_TIMEOUTS * electionUs;
    this.#until('does not stay with its leader', 2 * CALM_TIMEOUTS * electionUs, () => {
      const now = this.#cluster.leader;
      if (now !== leader || now.node.raft.term !== term) {
        throw new Violation('liveness', `the leader changes after healing: ${this.#describe()}`);
      }
      return this.#cluster.scheduler.nowUs >= endUs;
    });
    this.#until('does not converge again', LATEST_US, () => this.#converged());
  }

  #endFaults(): void {
    const cluster = this.#cluster;
    cluster.options = calm(cluster.options);
    cluster.network.options = cluster.options.network;
    cluster.network.mend();
    cluster.network.release();
    cluster.network.flush(FLUSH_US);
    for (const member of cluster.present) {
      member.disk.options = cluster.options.disk;
      member.disk.stallUntil(0);
      member.applyStalledUntilUs = 0;
      member.crashPoint = undefined;
      member.setRate(1);
      member.process.resume();
      if (!member.running) member.start();
    }
  }

  /** Waits until something holds, and says what does not if it takes too long. */
  #until(failure: string, limitUs: number, holds: () => boolean, requests = false): void {
    const cluster = this.#cluster;
    const endUs = cluster.scheduler.nowUs + limitUs;
    for (let round = 0; !holds(); round += 1) {
      if (cluster.scheduler.nowUs >= endUs)
        throw new Violation('liveness', `the cluster ${failure}: ${this.#describe()}`);
      this.#operate(round);
      if (requests) this.#ask();
      this.#runUntil(cluster.scheduler.nowUs + POLL_US);
    }
  }

  /** What an operator does. */
  #operate(round: number): void {
    const cluster = this.#cluster;
    if (this.#stopsRemoved) retire(cluster, (member, index) => member.running && member.applier.applied >= index);
    const { leader } = cluster;
    if (leader === undefined || round % 5 !== 0) return;
    const { configuration } = leader.node.raft.tracker;
    if (configuration.voters.outgoing.length > 0 && !configuration.autoLeave) leader.proposeConfChange(LEAVE_JOINT);
    else if (!configuration.voters.incoming.includes(leader.id) && !cluster.options.stepDownOnRemoval) {
      const successor = configuration.voters.incoming[0];
      if (successor !== undefined) leader.act((node) => node.transferLeader(successor));
    }
  }

  /** Everybody in the configuration of the leader. */
  #configured(): readonly Member[] {
    const ids = this.#cluster.leader?.node.raft.tracker.ids ?? [];
    return ids.map((id) => this.#cluster.memberOf(id)).filter((member) => member !== undefined);
  }

  #converged(): boolean {
    const { leader, awake } = this.#cluster;
    if (leader === undefined) return false;
    const { raft } = leader.node;
    const { voters } = raft.tracker.configuration;
    if (voters.outgoing.length > 0 || !voters.incoming.includes(leader.id)) return false;
    if (awake.some((other) => other !== leader && other.node.raft.role === 'StateLeader')) return false;
    return this.#configured().every(({ node, applier }) => {
      const { term, lead, log } = node.raft;
      const follows = term === raft.term && lead === leader.id;
      const equal = log.committed === raft.log.lastIndex() && applier.hash === leader.applier.hash;
      return follows && equal && log.applied === log.committed && applier.applied === log.committed;
    });
  }

  #serves(): boolean {
    return this.#configured().every((member) => this.#hasWritten(member) && this.#hasRead(member));
  }

  #hasWritten(member: Member): boolean {
    if (member !== this.#cluster.leader && this.#cluster.options.disableProposalForwarding) return true;
    return this.#workload.acknowledgedBy(member) > this.#before(member).acknowledged;
  }

  #hasRead(member: Member): boolean {
    return this.#workload.servedBy(member) > this.#before(member).served;
  }

  #before(member: Member): Served {
    let served = this.#counts.get(member);
    if (served === undefined) {
      served = { acknowledged: this.#workload.acknowledgedBy(member), served: this.#workload.servedBy(member) };
      this.#counts.set(member, served);
    }
    return served;
  }

  /** Asks those that have not served yet: with a tiny quota, those that have could take it all. */
  #ask(): void {
    for (const member of this.#configured()) {
      if (!this.#hasWritten(member)) this.#workload.write(member);
      if (!this.#hasRead(member)) this.#workload.read(member);
    }
  }

  #describe(): string {
    return this.#cluster.present
      .map(({ ordinal, running, node, applier }) => {
        if (!running) return `${ordinal} down`;
        const { role, term, log } = node.raft;
        const at = `commit ${log.committed}, applied ${applier.applied}, last ${log.lastIndex()}`;
        return `${ordinal} ${role} in term ${term}, ${at}`;
      })
      .join('; ');
  }
}
