/**
 * The members of a cluster on this machine, and what is done to them.
 *
 * Actions are for a member by its number, from 1, or its name. They say what is wrong by an error whose message is for
 * people; nothing is done then.
 *
 * @module
 */
import { Etcd, type MemberStatus } from '../../index.ts';
import { type Fleet, MemberProcess, type ProcessState } from './member-process.ts';
import type { MemberAction } from './settings.ts';

/** How a member is, for people and for programs. */
export interface MemberLine {
  readonly name: string;
  readonly endpoint: string;
  readonly state: ProcessState;
  /** Of the process, if it ended by itself. */
  readonly ending?: string;
  /** Undefined where it does not say. */
  readonly role?: 'leader' | 'follower' | 'learner' | 'candidate';
  readonly term?: number;
  readonly index?: number;
  readonly revision?: number;
  readonly dbSizeBytes?: number;
  /** Whether it runs, answers, has a leader and raises no alarm. */
  readonly healthy: boolean;
}

/** How long a member may take to say how it is, in ms. */
const STATUS_MS = 1_000;

/** What the action of the name does is no mystery; why it can't be done is its message. */
export class ActionError extends Error {
  override name = 'ActionError';
}

/** See the head of this file. */
export class Supervisor {
  readonly members: readonly MemberProcess[];
  readonly #etcd: Etcd;

  constructor(fleet: Fleet) {
    this.members = fleet.members.map((plan) => new MemberProcess(plan, fleet));
    const endpoints = fleet.members.map(({ clientUrl }) => clientUrl);
    // Who is asked how it is need not have a leader.
    this.#etcd = new Etcd({ endpoints, requireLeader: false });
  }

  /** What to give to etcdctl, and to any client. */
  get endpoints(): string {
    return this.members.map(({ plan }) => plan.clientUrl).join(',');
  }

  start(): void {
    for (const member of this.members) member.start();
  }

  /** Ends all, each in good order. */
  async close(): Promise<void> {
    await this.#etcd.close();
    await Promise.all(this.members.map((member) => member.stop()));
  }

  /** Ends all at once. */
  async killAll(): Promise<void> {
    await Promise.all(this.members.map((member) => member.kill()));
  }

  /** How all are, now. */
  async look(): Promise<MemberLine[]> {
    return Promise.all(this.members.map((member) => this.#lineOf(member)));
  }

  /** Does something to a member. @throws ActionError it can't be done. */
  async act(action: MemberAction, which: string): Promise<void> {
    const member = this.#find(which);
    const { name } = member.plan;
    const need = (condition: boolean): void => {
      if (!condition) throw new ActionError(`${name} is ${member.state}`);
    };
    switch (action) {
      case 'start':
        need(!member.alive);
        return member.start();
      case 'stop':
        need(member.alive);
        return member.stop();
      case 'kill':
        need(member.alive);
        return member.kill();
      case 'pause':
        need(member.state === 'running');
        return member.pause();
      case 'resume':
        need(member.state === 'paused');
        return member.resume();
      case 'lead':
        need(member.state === 'running');
        return this.#lead(member);
    }
  }

  /** Stops a member, or starts it. */
  toggle(number: number): Promise<void> {
    const which = String(number);
    return this.act(this.#find(which).alive ? 'stop' : 'start', which);
  }

  /** Pauses a member, or lets it go on. */
  togglePause(number: number): Promise<void> {
    const which = String(number);
    return this.act(this.#find(which).state === 'paused' ? 'resume' : 'pause', which);
  }

  /** Makes the next member that runs the leader. @throws ActionError there is none. */
  async moveLeader(): Promise<void> {
    const lines = await this.look();
    const leader = lines.findIndex(({ role }) => role === 'leader');
    const after = [...lines.slice(leader + 1), ...lines.slice(0, Math.max(leader, 0))];
    const next = after.find(({ role }) => role === 'follower');
    if (leader < 0 || next === undefined) throw new ActionError('nobody is there to lead, or to be led by');
    await this.act('lead', next.name);
  }

  async #lead(member: MemberProcess): Promise<void> {
    try {
      const status = await this.#status(member);
      await this.#etcd.maintenance.moveLeader(status.header.memberId, { timeoutMs: 5_000 });
    } catch (error) {
      throw new ActionError(error instanceof Error ? error.message : 'it did not answer');
    }
  }

  #status(member: MemberProcess): Promise<MemberStatus> {
    return this.#etcd.maintenance.status({ endpoint: member.plan.clientUrl, timeoutMs: STATUS_MS });
  }

  #find(which: string): MemberProcess {
    const found = this.members.find(({ plan }, at) => plan.name === which || String(at + 1) === which);
    if (found === undefined) throw new ActionError(`there is no member ${which}: 1 to ${this.members.length}`);
    return found;
  }

  async #lineOf(member: MemberProcess): Promise<MemberLine> {
    const { plan, state, ending } = member;
    const line = { name: plan.name, endpoint: plan.clientUrl, state, ...(ending && { ending }) };
    const status = state === 'running' ? await this.#status(member).catch(() => undefined) : undefined;
    if (status === undefined) return { ...line, healthy: false };
    const { leaderId, isLeader, isLearner, errors } = status;
    return {
      ...line,
      role: isLeader ? 'leader' : isLearner ? 'learner' : leaderId === undefined ? 'candidate' : 'follower',
      term: Number(status.raftTerm),
      index: Number(status.raftAppliedIndex),
      revision: Number(status.header.revision),
      dbSizeBytes: status.dbSizeBytes,
      healthy: leaderId !== undefined && errors.length === 0,
    };
  }
}
