/**
 * One running member: consensus, log and state machine put together, as services see them.
 *
 * The rooms: `boot.ts` what it starts from, `loop.ts` what consensus wants done, `proposals.ts` requests on their way,
 * `reads.ts` linearizable reads, `lease-keeper.ts` leases, `snapshots.ts` images, `member-changes.ts` the checks of
 * changes, `hand-over.ts` and `publish.ts` leadership given away and the member's name, `upkeep.ts` and `compactor.ts` what
 * is done on the side. Here is only what ties them: who is told of what,
 * and in which order.
 *
 * It ends once, by {@link Member.stop} or by a failure that nothing here can mend ({@link Member.failed}); then every
 * wait ends and every timer is called off. No timer of it keeps a process alive.
 *
 * @module
 */
import type { InternalRaftRequest } from '../../protocol/generated/raftinternalpb.ts';
import type { ClusterId, MemberId } from '../../protocol/int64.ts';
import type { Init } from '../../protocol/wire.ts';
import type { Clock, Timer } from '../../support/clock.ts';
import { type Cancellation, deferred } from '../../support/signals.ts';
import { StateMachine } from '../apply/machine.ts';
import type { AppliedState } from '../apply/state.ts';
import type { PasswordHasher } from '../auth/passwords.ts';
import type { TokenProvider } from '../auth/tokens.ts';
import { type Entry, message, NONE, type RawNode, type SoftState } from '../raft/index.ts';
import { Refusals, RpcError } from '../refusals.ts';
import type { BackendMember } from '../snapshot/backend-state.ts';
import type { BoltImage } from '../snapshot/bolt/writer.ts';
import { type Booted, boot } from './boot.ts';
import { Changes } from './changes.ts';
import { Compactor } from './compactor.ts';
import { newCore } from './core.ts';
import { MemberRemovedError } from './errors.ts';
import { HandOver } from './hand-over.ts';
import { LeaseKeeper } from './lease-keeper.ts';
import { Loop, type LoopTasks } from './loop.ts';
import { type ClusterView, checkChange, planChange } from './member-changes.ts';
import { type MemberOptions, type ResolvedOptions, resolveOptions } from './options.ts';
import { noPeers, type PeerHost, type Peers } from './peers.ts';
import { Proposals } from './proposals.ts';
import { publish } from './publish.ts';
import { Reads } from './reads.ts';
import { RequestIds } from './request-ids.ts';
import type { MemberChange, Proposed, ProposeOptions, RaftPosition, ServingMember } from './serving.ts';
import { Snapshots } from './snapshots.ts';
import { Space } from './space.ts';
import { Upkeep } from './upkeep.ts';

/** See the head of this file. */
export class Member implements ServingMember {
  readonly id: MemberId;
  readonly clusterId: ClusterId;
  readonly version: string;
  readonly tokens: TokenProvider;
  readonly hasher: PasswordHasher;
  /** Resolves once the member has a leader and has said who it is: then it may serve clients. Rejects if it ends first. */
  readonly ready: Promise<void>;
  /** Resolves with the cause if the member ends by itself. */
  readonly failed: Promise<unknown>;
  readonly #options: ResolvedOptions;
  readonly #clock: Clock;
  readonly #peers: Peers;
  readonly #booted: Booted;
  readonly #machine: StateMachine;
  readonly #node: RawNode;
  readonly #loop: Loop;
  readonly #ids: RequestIds;
  readonly #changes: Changes;
  readonly #proposals: Proposals;
  readonly #reads: Reads;
  readonly #space: Space;
  readonly #leases: LeaseKeeper;
  readonly #upkeep: Upkeep;
  readonly #snapshots: Snapshots;
  readonly #handOver: HandOver;
  #compactor: Compactor | undefined;
  #ticker: Timer | undefined;
  #soft: SoftState = { lead: NONE, role: 'StateFollower' };
  /** The last leader that was known. */
  #lastLead = NONE;
  /** Term for which the lessor was made the primary. */
  #promotedTerm = 0;
  /** What was committed at the start: a member that decides alone is elected as soon as that is applied. */
  readonly #startCommit: number;
  #campaigned = false;
  #leaderChanges = 0;
  readonly #leaderCallbacks = new Set<(leader: bigint) => void>();
  readonly #ready = deferred<void>();
  readonly #failed = deferred<unknown>();
  readonly #ending = new AbortController();
  #stopping: Promise<void> | undefined;

  private constructor(options: ResolvedOptions, booted: Booted) {
    const { clock, connect = noPeers, pause, requestTimeoutMs: timeoutMs } = options;
    this.#options = options;
    this.#clock = clock;
    this.#booted = booted;
    this.id = booted.id;
    this.clusterId = booted.clusterId;
    this.version = options.version;
    this.hasher = options.hasher;
    this.ready = this.#ready.promise;
    this.failed = this.#failed.promise;
    const applied = (): number => this.#machine.index;
    const position = (): RaftPosition => this.position;
    const wake = (): void => this.#loop.wake();
    const failed = (error: unknown): void => this.#fail(error);
    this.#ids = new RequestIds(this.id, options.timeOfDayMs);
    this.#changes = new Changes(clock);
    this.#reads = new Reads({ clock, timeoutMs, applied, wake, ask: (context) => this.#node.readIndex(context) });
    const { waits } = this.#reads;
    this.tokens = options.tokens({
      now: () => clock.now(),
      actor: (username) => this.#machine.auth.actor(username),
      appliedIndex: () => BigInt(this.#machine.index),
      resumedAt: BigInt(booted.log.lastIndex()),
      waitApplied: async (index, waitMs, signal) => {
        await waits.until(Number(index), waitMs, signal);
      },
    });
    this.#machine = new StateMachine({
      tokens: this.tokens,
      minTtlSeconds: options.minTtlSeconds,
      checkpointMs: options.leaseCheckpointMs,
      quotaBytes: options.quotaBytes,
      memberId: this.id,
    });
    const state = this.#machine;
    const peers = connect(this.#asHost());
    this.#peers = peers;
    this.#space = new Space(this.id, state, (alarm) => this.#proposeSelf({ alarm }));
    this.#proposals = new Proposals({
      clock,
      ids: this.#ids,
      timeoutMs,
      maxRequestBytes: options.maxRequestBytes,
      lag: () => this.#node.raft.log.committed - this.#machine.index,
      admits: (data) => this.#space.admits(data),
      wake,
    });
    const proposals = this.#proposals;
    const extendMs = options.electionMs;
    const common = { clock, state, proposals, peers, changes: this.#changes, waits, position, timeoutMs, extendMs };
    this.#leases = new LeaseKeeper({ id: this.id, ...common });
    this.#upkeep = new Upkeep({ clock, state, pause, failed });
    this.#node = newCore(booted, options);
    this.#startCommit = this.#node.raft.log.committed;
    this.#loop = this.#newLoop();
    this.#snapshots = this.#newSnapshots();
    this.#handOver = new HandOver({
      id: this.id,
      members: this.#machine.members,
      peers,
      clock,
      changes: this.#changes,
      leader: () => this.#soft.lead,
      transfer: (to) => this.#loop.with((node) => node.transferLeader(to)),
      timeoutMs,
      electionMs: options.electionMs,
      ending: this.#ending.signal,
    });
  }

  /**
   * Starts a member.
   *
   * @throws DataDirError, WalError: its data can't be used, and was left as it is.
   */
  static async start(options: MemberOptions): Promise<Member> {
    const resolved = resolveOptions(options);
    const booted = await boot({ ...resolved, storage: options.storage });
    const { image, journal } = booted;
    try {
      const member = new Member(resolved, booted);
      if (image) await member.#machine.restore(image.state, image.readKeys);
      member.#begin();
      return member;
    } catch (error) {
      await journal.close();
      throw error;
    } finally {
      await image?.close();
    }
  }

  get state(): AppliedState {
    return this.#machine;
  }

  get position(): RaftPosition {
    const { raft } = this.#node;
    return {
      leader: this.#soft.lead,
      term: raft.term,
      committed: raft.log.committed,
      applied: this.#machine.index,
      isLearner: raft.isLearner,
    };
  }

  get proposals(): { readonly pending: number; readonly failed: number } {
    return this.#proposals;
  }

  /** How often the leader has changed, and how many rounds of reads ended without an answer. */
  get counters(): { readonly leaderChanges: number; readonly failedReads: number } {
    return { leaderChanges: this.#leaderChanges, failedReads: this.#reads.failed };
  }

  now(): number {
    return this.#clock.now();
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = this.#clock.after(delayMs, callback, { background: true });
    return () => timer.cancel();
  }

  propose(request: Init<InternalRaftRequest>, options?: ProposeOptions): Promise<Proposed> {
    return this.#proposals.propose(request, options);
  }

  linearize(signal?: AbortSignal | Cancellation): Promise<void> {
    return this.#reads.linearize(signal);
  }

  renewLease(id: bigint, signal?: AbortSignal): Promise<number> {
    return this.#leases.renew(id, signal);
  }

  timeToLive(id: bigint, signal?: AbortSignal): ReturnType<ServingMember['timeToLive']> {
    return this.#leases.timeToLive(id, signal);
  }

  async changeMembers(asked: MemberChange, signal?: AbortSignal): Promise<readonly BackendMember[]> {
    if (asked.type === 'promote' && !this.#leads) throw new RpcError(Refusals.NotLeader);
    const view: ClusterView = {
      self: this.id,
      now: this.#clock.now(),
      members: this.#machine.members,
      connectedSince: (id) => this.#peers.connectedSince(id),
      progress: this.#node.status().progress,
    };
    const refusal = checkChange(asked, view, this.#options.strictReconfigCheck);
    if (refusal) throw new RpcError(refusal);
    const { change, context } = planChange(asked, view);
    const { result } = await this.#proposals.proposeChange(change, context, signal);
    return result.type === 'members' ? result.members : this.#machine.members.list();
  }

  moveLeader(to: bigint, signal?: AbortSignal): Promise<void> {
    return this.#handOver.to(to, signal);
  }

  async defragment(): Promise<void> {
    this.#machine.defragment();
  }

  image(): Promise<BoltImage> {
    return this.#snapshots.image();
  }

  swept(signal?: AbortSignal): Promise<void> {
    return this.#upkeep.swept(signal);
  }

  wakeWatches(): void {
    this.#upkeep.wakeWatches();
  }

  onLeader(callback: (leader: bigint) => void): () => void {
    this.#leaderCallbacks.add(callback);
    return () => this.#leaderCallbacks.delete(callback);
  }

  /** Hands leadership over if it can, ends all waiting, and lets go of the data. Idempotent. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  get #leads(): boolean {
    return this.#soft.role === 'StateLeader';
  }

  /** Whether this member decides alone. */
  get #alone(): boolean {
    const { tracker } = this.#node.raft;
    return tracker.isSingleton && tracker.voters[0] === this.id;
  }

  #asHost(): PeerHost {
    const member = this;
    return {
      id: this.id,
      clusterId: this.clusterId,
      version: this.version,
      get members() {
        return member.#machine.members;
      },
      get leader() {
        return member.#soft.lead;
      },
      now: () => this.#clock.now(),
      receive: (m) => this.#loop.with((node) => node.step(m)),
      receiveSnapshot: async () => {
        throw new RpcError(Refusals.Stopped);
      },
      unreachable: (id) => this.#loop.with((node) => node.reportUnreachable(id as MemberId)),
      removed: () => this.#fail(new MemberRemovedError()),
      renewLeaseHere: (id, signal) => this.#leases.renew(id, signal),
      timeToLiveHere: (id, signal) => this.#leases.timeToLive(id, signal),
      promoteHere: (id, signal) => this.changeMembers({ type: 'promote', id }, signal),
      hashKv: () => Refusals.Stopped,
    };
  }

  #newLoop(): Loop {
    const { pause, observe } = this.#options;
    const { log, journal } = this.#booted;
    const tasks: LoopTasks = {
      gather: () => this.#gather(),
      settled: () => this.#reads.settle(),
      apply: (entry) => this.#apply(entry),
      applied: () => this.#applied(),
      softState: (state) => this.#softState(state),
      readStates: (states) => this.#reads.answered(states),
      written: (ms) => observe.written?.(ms),
      failed: (error) => this.#fail(error),
    };
    const now = (): number => this.#clock.now();
    const shared = { node: this.#node, storage: log, journal, peers: this.#peers };
    return new Loop({ ...shared, pause, now, tasks });
  }

  #newSnapshots(): Snapshots {
    const { pause, observe, storage, snapshotCount, snapshotCatchUpEntries } = this.#options;
    const { log, journal, paths, applied } = this.#booted;
    const options = {
      state: this.#machine,
      log,
      journal,
      record: (snapshot: Parameters<Loop['record']>[0]) => this.#loop.record(snapshot),
      files: storage && paths ? { disk: storage.disk, paths } : undefined,
      pause,
      everyEntries: snapshotCount,
      catchUpEntries: snapshotCatchUpEntries,
      saved: (index: number, bytes: number) => observe.snapshotSaved?.(index, bytes),
      failed: (error: unknown) => observe.snapshotFailed?.(error),
    };
    return new Snapshots(options, applied);
  }

  #begin(): void {
    const { autoCompaction: policy } = this.#options;
    this.#peers.start();
    this.#tick();
    if (policy) {
      const revision = (): number | undefined => (this.#leads ? this.#machine.store.revision : undefined);
      const compact = (to: number) => this.#proposeSelf({ compaction: { revision: BigInt(to) } });
      this.#compactor = new Compactor({ clock: this.#clock, policy, revision, compact });
    }
    this.#loop.wake();
    this.#campaignOnce();
    const { name, clientUrls } = this.#options;
    const propose = (request: Init<InternalRaftRequest>): Promise<unknown> => this.#proposeSelf(request);
    publish({ id: this.id, name, clientUrls, clock: this.#clock, propose, signal: this.#ending.signal }).then(
      (heard) => heard && this.#ready.resolve(),
      (error: unknown) => this.#fail(error),
    );
  }

  #tick(): void {
    const again = (): void => {
      this.#loop.with((node) => node.tick());
      if (!this.#ending.signal.aborted) this.#tick();
    };
    this.#ticker = this.#clock.after(this.#options.heartbeatMs, again, { background: true });
  }

  /** Who decides alone need not wait whether there is a leader. */
  #campaignOnce(): void {
    if (this.#campaigned || this.#node.raft.log.applied < this.#startCommit) return;
    this.#campaigned = true;
    if (this.#alone) this.#loop.with((node) => node.campaign());
  }

  #gather(): void {
    const { lead } = this.#node.raft;
    // What comes while a write is underway can only go into the next one: so it goes there together. With followers it
    // is on its way to them meanwhile.
    if (this.#proposals.hasEntries && lead !== NONE && !(this.#loop.appending && this.#alone)) {
      const step = (entries: readonly Entry[]): boolean =>
        this.#node.step(message('MsgProp', { from: this.id, entries })) === undefined;
      this.#proposals.flush(step);
    }
    this.#reads.gather();
  }

  #apply(entry: Entry): void {
    const { observe } = this.#options;
    const now = this.#clock.now();
    const { requestId, outcome, confChange, wantsAlarm, removedSelf } = this.#machine.apply(entry, now);
    if (observe.appliedEntry) observe.appliedEntry(this.#clock.now() - now, entry.index);
    if (confChange) this.#node.applyConfChange(confChange);
    else if (entry.data.length === 0) this.#begunTerm(entry);
    if (wantsAlarm) this.#space.alarm();
    if (outcome && requestId !== 0n) {
      this.#proposals.applied(requestId, outcome, entry.index, entry.term, this.#machine.store.revision);
    }
    if (removedSelf) this.#fail(new MemberRemovedError());
  }

  /** An empty entry: with the first one of its own term a leader knows all that its predecessors did. */
  #begunTerm({ term }: Entry): void {
    if (!this.#leads || term !== this.#node.raft.term || term === this.#promotedTerm) return;
    this.#promotedTerm = term;
    this.#leases.promote();
    this.#reads.committedInTerm();
    if (this.#machine.members.clusterVersion === undefined) {
      const [major, minor] = this.version.split('.');
      // The next leader tries again.
      this.#proposeSelf({ clusterVersionSet: { ver: `${major}.${minor}.0` } }).catch(() => {});
    }
  }

  #applied(): void {
    this.#reads.waits.applied();
    this.#changes.tell();
    this.#upkeep.applied();
    this.#snapshots.applied();
    this.#campaignOnce();
  }

  #softState(now: SoftState): void {
    const before = this.#soft;
    this.#soft = now;
    if (before.role === 'StateLeader' && now.role !== 'StateLeader') this.#leases.demote();
    if (now.lead !== before.lead) {
      if (now.lead !== NONE && now.lead !== this.#lastLead) {
        this.#leaderChanges += 1;
        if (this.#lastLead !== NONE) this.#reads.leaderChanged();
        this.#lastLead = now.lead;
      }
      this.#options.observe.leader?.(now.lead);
      for (const callback of [...this.#leaderCallbacks]) callback(now.lead);
    }
    this.#changes.tell();
    this.#loop.wake();
  }

  #proposeSelf(request: Init<InternalRaftRequest>): Promise<Proposed> {
    return this.#proposals.propose(request, { actor: this.#machine.auth.self() });
  }

  #fail(error: unknown): void {
    if (this.#ending.signal.aborted) return;
    this.#halt();
    this.#failed.resolve(error);
  }

  /** Ends all waiting, and whatever is done on the side. */
  #halt(): void {
    if (this.#ending.signal.aborted) return;
    this.#ending.abort();
    this.#loop.end();
    this.#ticker?.cancel();
    this.#compactor?.stop();
    this.#leases.stop();
    this.#upkeep.stop();
    this.#proposals.stop();
    this.#reads.stop();
    this.#changes.stop();
    this.#ready.reject(new RpcError(Refusals.Stopped));
  }

  async #stop(): Promise<void> {
    if (this.#leads && !this.#alone) await this.#handOver.toLongestConnected();
    this.#halt();
    await this.#snapshots.end();
    await this.#peers.close();
    // What it rejects with has been told as the failure, or concerns what nobody was promised.
    await this.#booted.journal.close().catch(() => {});
  }
}
