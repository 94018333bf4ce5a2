/**
 * One running member: consensus, log and state machine put together, as services see them.
 *
 * The rooms: `boot.ts` what it starts from, `loop.ts` what consensus wants done, `applying.ts` entries, `proposals.ts`
 * requests on their way, `reads.ts` linearizable reads, `lease-keeper.ts` leases, `images.ts` images of the state,
 * `reconfigure.ts` who is in the cluster, `leader-watch.ts`, `leader-duties.ts` and `hand-over.ts` leadership,
 * `sole-voter.ts` a member that is alone, `host.ts` what others reach, `publish.ts` the member's name, `upkeep.ts` what
 * is done on the side. Here is only what ties them: who is told of what, and in which order.
 *
 * It ends once, by {@link Member.stop} or by a failure that nothing here can mend ({@link Member.failed}); then every
 * wait ends and every timer is called off. No timer of it keeps a process alive.
 *
 * @module
 */
import type { InternalRaftRequest } from '../../protocol/generated/raftinternalpb.ts';
import type { ClusterId, MemberId } from '../../protocol/int64.ts';
import type { Init } from '../../protocol/wire.ts';
import type { Clock } from '../../support/clock.ts';
import { type Cancellation, deferred } from '../../support/signals.ts';
import { StateMachine } from '../apply/machine.ts';
import type { AppliedState } from '../apply/state.ts';
import type { V2Put } from '../apply/v2-request.ts';
import type { PasswordHasher } from '../auth/passwords.ts';
import type { TokenProvider } from '../auth/tokens.ts';
import { type Entry, message, NONE, type RawNode, type SoftState } from '../raft/index.ts';
import { Refusals, RpcError } from '../refusals.ts';
import type { BackendMember } from '../snapshot/backend-state.ts';
import type { BoltImage } from '../snapshot/bolt/writer.ts';
import { Applying } from './applying.ts';
import { AtLeader } from './at-leader.ts';
import { type Booted, boot } from './boot.ts';
import { Changes } from './changes.ts';
import { newCore } from './core.ts';
import { EntrySpans } from './entry-spans.ts';
import { HandOver } from './hand-over.ts';
import { hostOf } from './host.ts';
import { Images } from './images.ts';
import { KnownMembers } from './known-members.ts';
import { LeaderDuties } from './leader-duties.ts';
import { LeaderWatch } from './leader-watch.ts';
import { LeaseKeeper } from './lease-keeper.ts';
import { Loop, type LoopTasks } from './loop.ts';
import { type MemberOptions, type ResolvedOptions, resolveOptions } from './options.ts';
import { noPeers, type Peers } from './peers.ts';
import { Proposals } from './proposals.ts';
import { publish } from './publish.ts';
import { Reads } from './reads.ts';
import { Reconfigure } from './reconfigure.ts';
import { RequestIds } from './request-ids.ts';
import type { MemberChange, MemberCounters, Proposed, ProposeOptions, RaftPosition, ServingMember } from './serving.ts';
import { SoleVoter } from './sole-voter.ts';
import { Space } from './space.ts';
import { Ticker } from './ticker.ts';
import { timeoutRefusal } from './timeouts.ts';
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
  readonly #images: Images;
  readonly #applying: Applying;
  readonly #handOver: HandOver;
  readonly #atLeader: AtLeader;
  readonly #reconfigure: Reconfigure;
  readonly #duties: LeaderDuties;
  readonly #leader = new LeaderWatch();
  #ticker: Ticker | undefined;
  readonly #sole: SoleVoter;
  readonly #ready = deferred<void>();
  readonly #failed = deferred<unknown>();
  readonly #ending = new AbortController();
  #stopping: Promise<void> | undefined;

  private constructor(options: ResolvedOptions, booted: Booted) {
    const { clock, connect = noPeers, pause, requestTimeoutMs: timeoutMs, tracing } = options;
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
    const nextId = (): bigint => this.#ids.next();
    const ask = (context: Uint8Array): void => this.#node.readIndex(context);
    this.#reads = new Reads({ clock, timeoutMs, applied, wake, nextId, ask });
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
      maxLearners: options.maxLearners,
      memberId: this.id,
    });
    const state = this.#machine;
    this.#peers = connect(this.#asHost());
    const peers = this.#peers;
    const leader = this.#leader;
    const { id } = this;
    const { members } = state;
    const { electionMs } = options;
    this.#space = new Space(this.id, state, (alarm) => this.#proposeSelf({ alarm }));
    this.#proposals = new Proposals({
      clock,
      ids: this.#ids,
      timeoutMs,
      maxRequestBytes: options.maxRequestBytes,
      lag: () => this.#node.raft.log.committed - this.#machine.index,
      admits: (data) => this.#space.admits(data),
      timeoutOf: (startedAt) => timeoutRefusal({ id, electionMs, leader, members, peers }, startedAt),
      wake,
    });
    const proposals = this.#proposals;
    this.#atLeader = new AtLeader({ id, clock, changes: this.#changes, position, timeoutMs });
    const atLeader = this.#atLeader;
    const leases = { clock, state, proposals, peers, atLeader, waits, position, extendMs: electionMs };
    this.#leases = new LeaseKeeper(leases);
    this.#upkeep = new Upkeep({ clock, state, pause, failed });
    this.#node = newCore(booted, options);
    const spans = tracing && new EntrySpans({ tracing, memberId: id, since: booted.log.lastIndex() });
    this.#sole = new SoleVoter(this.#node);
    this.#loop = this.#newLoop(spans);
    const [node, loop, space, strict] = [this.#node, this.#loop, this.#space, options.strictReconfigCheck];
    const common = { id, clock, members, peers };
    this.#reconfigure = new Reconfigure({ ...common, node, atLeader, proposals, strict });
    const begunTerm = (term: number): void => {
      if (this.#duties.lead(term)) this.#reads.committedInTerm();
    };
    this.#applying = new Applying({ clock, options, state, node, peers, proposals, space, spans, begunTerm, failed });
    this.#images = new Images({ clock, options, booted, state, node, loop, peers });
    this.#handOver = new HandOver({
      ...common,
      changes: this.#changes,
      leader: () => leader.leader,
      transfer: (to) => loop.with((raw) => raw.transferLeader(to)),
      timeoutMs,
      electionMs,
      ending: this.#ending.signal,
    });
    this.#duties = new LeaderDuties({
      id,
      options,
      state,
      peers,
      leases: this.#leases,
      propose: (request) => this.#proposeSelf(request),
      proposeV2: (put) => this.#proposals.proposeV2(put),
      linearize: (signal) => this.#reads.linearize(signal),
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
    const { image, journal, repaired, abandoned } = booted;
    if (repaired) resolved.observe.repaired?.(repaired);
    if (abandoned?.length) resolved.observe.abandoned?.(abandoned);
    try {
      const member = new Member(resolved, booted);
      if (image) await member.#machine.restore(image.state, image.readKeys);
      member.#peers.start();
      try {
        if (resolved.initialCorruptCheck) await member.#duties.checkInitially();
        member.#begin();
      } catch (error) {
        await member.stop();
        throw error;
      }
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
      leader: this.#leader.leader,
      term: raft.term,
      committed: raft.log.committed,
      applied: this.#machine.index,
      isLearner: raft.isLearner,
    };
  }

  get proposals(): { readonly pending: number; readonly failed: number } {
    return this.#proposals;
  }

  get counters(): MemberCounters {
    return {
      leaderChanges: this.#leader.changes,
      failedReads: this.#reads.failed,
      slowReads: this.#reads.slow,
      expiredLeases: this.#leases.expired,
      logBytes: this.#booted.journal.writtenBytes,
    };
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

  changeMembers(asked: MemberChange, signal?: AbortSignal): Promise<readonly BackendMember[]> {
    return this.#reconfigure.change(asked, signal);
  }

  moveLeader(to: bigint, signal?: AbortSignal): Promise<void> {
    return this.#handOver.to(to, signal);
  }

  async defragment(): Promise<void> {
    this.#machine.defragment();
  }

  image(): Promise<BoltImage> {
    return this.#images.image();
  }

  swept(signal?: AbortSignal): Promise<void> {
    return this.#upkeep.swept(signal);
  }

  wakeWatches(): void {
    this.#upkeep.wakeWatches();
  }

  onLeader(callback: (leader: bigint) => void): () => void {
    return this.#leader.listen(callback);
  }

  /** Hands leadership over if it can, ends all waiting, and lets go of the data. Idempotent. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  #asHost(): Parameters<typeof noPeers>[0] {
    const state = this.#machine;
    return hostOf({
      id: this.id,
      clusterId: this.clusterId,
      version: this.version,
      clock: this.#clock,
      members: new KnownMembers(this.id, state.members, this.#booted.told),
      state,
      leader: () => this.#leader.leader,
      loop: () => this.#loop,
      images: () => this.#images,
      leases: () => this.#leases,
      reconfigure: () => this.#reconfigure,
      failed: (error) => this.#fail(error),
    });
  }

  #newLoop(spans: EntrySpans | undefined): Loop {
    const { pause, observe } = this.#options;
    const { log, journal } = this.#booted;
    const tasks: LoopTasks = {
      gather: () => this.#gather(),
      settled: () => this.#reads.settle(),
      apply: (entry) => this.#applying.apply(entry),
      applied: () => this.#applied(),
      softState: (state) => this.#softState(state),
      readStates: (states) => this.#reads.answered(states),
      sendSnapshot: (m) => this.#images.send(m),
      install: (snapshot, batch) => this.#images.install(snapshot, batch),
      written: (ms) => observe.written?.(ms),
      failed: (error) => this.#fail(error),
    };
    const now = (): number => this.#clock.now();
    const shared = { node: this.#node, storage: log, journal, peers: this.#peers, spans };
    return new Loop({ ...shared, pause, now, tasks });
  }

  #begin(): void {
    const { heartbeatMs, electionTicks, initialElectionTickAdvance } = this.#options;
    const ticks = { clock: this.#clock, heartbeatMs, electionTicks };
    const tick = (): void => this.#loop.with((node) => node.tick());
    // With nobody to elect or to be elected by there is no hurry, nor if there is a leader.
    const isThere = (id: bigint): boolean => id !== this.id && this.#peers.connectedSince(id) !== undefined;
    const hurries = (): boolean =>
      this.#leader.leader === NONE && this.#machine.members.list().some(({ id }) => isThere(id));
    this.#ticker = new Ticker({ ...ticks, tick, hurries }, initialElectionTickAdvance);
    this.#duties.begin();
    this.#loop.wake();
    this.#stand();
    const { name, clientUrls } = this.#options;
    const propose = (put: V2Put): Promise<unknown> => this.#proposals.proposeV2(put);
    publish({ id: this.id, name, clientUrls, clock: this.#clock, propose, signal: this.#ending.signal }).then(
      (heard) => heard && this.#ready.resolve(),
      (error: unknown) => this.#fail(error),
    );
  }

  #stand(): void {
    if (this.#sole.stands()) this.#loop.with((node) => node.campaign());
  }

  #gather(): void {
    const { lead } = this.#node.raft;
    // What comes while a write is underway can only go into the next one: so it goes there together. With followers it
    // is on its way to them meanwhile.
    if (this.#proposals.hasEntries && lead !== NONE && !(this.#loop.appending && this.#sole.decides)) {
      const step = (entries: readonly Entry[]): boolean =>
        this.#node.step(message('MsgProp', { from: this.id, entries })) === undefined;
      this.#proposals.flush(step);
    }
    this.#reads.gather();
  }

  #applied(): void {
    this.#reads.waits.applied();
    this.#changes.tell();
    this.#upkeep.applied();
    this.#images.applied();
    this.#stand();
  }

  #softState(now: SoftState): void {
    const before = this.#leader.leader;
    const { deposed, replaced } = this.#leader.update(now, this.#clock.now());
    if (deposed) this.#duties.depose();
    if (replaced) this.#reads.leaderChanged();
    if (now.lead !== before) this.#options.observe.leader?.(now.lead);
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
    this.#ticker?.stop();
    this.#applying.stop();
    this.#duties.stop();
    this.#images.stop();
    this.#atLeader.stop();
    this.#leases.stop();
    this.#upkeep.stop();
    this.#proposals.stop();
    this.#reads.stop();
    this.#changes.stop();
    this.#ready.reject(new RpcError(Refusals.Stopped));
  }

  async #stop(): Promise<void> {
    if (this.#leader.leads && !this.#sole.decides) await this.#handOver.toLongestConnected();
    this.#halt();
    await this.#loop.settled();
    await this.#images.end();
    await this.#peers.close();
    // What it rejects with has been told as the failure, or concerns what nobody was promised.
    await this.#booted.journal.close().catch(() => {});
  }
}
