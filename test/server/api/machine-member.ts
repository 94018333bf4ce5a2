/**
 * A member whose log is at once: what is proposed is applied by the real state machine, in order, right after the call.
 *
 * What a cluster does to a member is up to the test: leadership, whether it is a learner, and when proposals fail or
 * wait. Time is virtual, and so is chance.
 */

import { setImmediate as turn } from 'node:timers/promises';
import { InternalRaftRequest } from '../../../src/protocol/generated/raftinternalpb.ts';
import type { MemberId } from '../../../src/protocol/int64.ts';
import type { Init } from '../../../src/protocol/wire.ts';
import type { ApiOptions } from '../../../src/server/api/guard.ts';
import { StateMachine } from '../../../src/server/apply/machine.ts';
import type { PasswordHasher } from '../../../src/server/auth/passwords.ts';
import { SimpleTokens } from '../../../src/server/auth/simple-tokens.ts';
import { type Actor, NOBODY } from '../../../src/server/auth/store.ts';
import type {
  MemberChange,
  Proposed,
  ProposeOptions,
  RaftPosition,
  ServingMember,
} from '../../../src/server/member/serving.ts';
import { Refusals, RpcError } from '../../../src/server/refusals.ts';
import type { CallMetadata, ServerCall } from '../../../src/server/rpc/call.ts';
import { writeBackend } from '../../../src/server/snapshot/backend-image.ts';
import type { BackendMember } from '../../../src/server/snapshot/backend-state.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';

/** As etcd has them; chance is a sequence that does not repeat soon. */
export function apiOptions(): ApiOptions {
  let draws = 0;
  const random = (): number => {
    draws += 1;
    return (draws * 0.618_033_988_75) % 1;
  };
  return { maxTxnOps: 128, maxRequestBytes: 1_572_864, watchProgressMs: 600_000, random };
}

/** A hash is the password and a frame around it that makes it look like one. */
function plainHasher(): PasswordHasher & { verified: number; whileVerifying: () => void } {
  const frame = (password: string): string => `$2b$04$${password.padEnd(53, '.')}`;
  return {
    cost: 4,
    verified: 0,
    whileVerifying: () => {},
    hash: async (password) => frame(password),
    async verify(password, hash) {
      this.verified += 1;
      this.whileVerifying();
      return hash === frame(password);
    },
  };
}

export class MachineMember implements ServingMember {
  readonly id = 0x11n;
  readonly clusterId = 0xc1n;
  readonly version = '3.5.30';
  readonly clock = new VirtualClock();
  readonly hasher = plainHasher();
  readonly tokens: SimpleTokens;
  readonly state: StateMachine;
  /** Everything that was proposed, in order. */
  readonly proposed: InternalRaftRequest[] = [];
  readonly memberChanges: MemberChange[] = [];
  /** How often somebody asked for the newest there is. */
  linearized = 0;
  defragmented = 0;
  /** How long a defragmentation takes, and whether it fails. */
  whileDefragmenting: () => Promise<void> = async () => {};
  proposals = { pending: 0, failed: 0 };
  readonly counters = { leaderChanges: 0, failedReads: 0, slowReads: 0, expiredLeases: 0, logBytes: 0 };
  position: RaftPosition = { leader: 0x11n, term: 2, committed: 0, applied: 0, isLearner: false };
  /** Runs before each proposal is applied; may throw instead. */
  beforeApply: (request: InternalRaftRequest) => void | Promise<void> = () => {};
  readonly #leaderCallbacks = new Set<(leader: bigint) => void>();

  constructor() {
    this.tokens = new SimpleTokens({
      now: () => this.clock.now(),
      randomBytes: (count) => new Uint8Array(count).map((_, i) => i),
      actor: (name) => this.state.auth.actor(name),
      appliedIndex: () => BigInt(this.state.index),
      waitApplied: async () => {},
    });
    this.state = new StateMachine({ tokens: this.tokens, minTtlSeconds: 2, quotaBytes: 0 });
    this.state.lessor.promote(this.now(), 0);
  }

  now(): number {
    return this.clock.now();
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = this.clock.after(delayMs, callback);
    return () => timer.cancel();
  }

  async propose(init: Init<InternalRaftRequest>, { actor = NOBODY, signal }: ProposeOptions = {}): Promise<Proposed> {
    const request = entryOf(init, actor);
    this.proposed.push(request);
    await this.beforeApply(request);
    if (signal?.aborted) throw new RpcError(Refusals.Canceled);
    const { position, state } = this;
    const index = state.index + 1;
    this.position = { ...position, committed: index, applied: index };
    const data = InternalRaftRequest.encode(request);
    const { outcome } = state.apply({ type: 'EntryNormal', data, index, term: position.term }, this.now());
    if (!outcome) throw new TypeError('nothing was applied');
    if (outcome.type === 'refused') throw new RpcError(outcome.refusal);
    return { result: outcome, index, term: state.term, revision: state.store.revision };
  }

  async linearize(signal?: AbortSignal): Promise<void> {
    this.linearized += 1;
    await turn();
    if (signal?.aborted) throw new RpcError(Refusals.Canceled);
  }

  async renewLease(id: bigint): Promise<number> {
    const renewed = this.state.lessor.renew(id, this.now());
    return typeof renewed === 'string' ? 0 : renewed.ttlSeconds;
  }

  async timeToLive(id: bigint) {
    const { lessor } = this.state;
    const left = lessor.timeToLive(id, this.now());
    if (typeof left === 'string') return { remainingSeconds: -1, grantedSeconds: 0, keys: [] };
    return { ...left, keys: Array.from(lessor.keysOf(id), (key) => Buffer.from(key, 'latin1')) };
  }

  async changeMembers(change: MemberChange): Promise<readonly BackendMember[]> {
    this.memberChanges.push(change);
    const { members } = this.state;
    const id = change.type === 'add' ? change.member.id : change.id;
    const known = change.type === 'add' ? change.member : (members.get(id) ?? blank(id));
    const member = change.type === 'update' ? { ...known, peerUrls: change.peerUrls } : known;
    const voter = change.type === 'add' && member.isLearner ? 'add-learner' : 'add-voter';
    const type = change.type === 'remove' || change.type === 'update' ? change.type : voter;
    const refusal = members.change({ type, nodeId: id as MemberId }, { member, isPromote: change.type === 'promote' });
    if (refusal) throw new RpcError(refusal);
    return members.list();
  }

  async moveLeader(to: bigint): Promise<void> {
    this.lead(to);
  }

  async defragment(): Promise<void> {
    this.defragmented += 1;
    await this.whileDefragmenting();
    this.state.defragment();
  }

  image() {
    return writeBackend(this.state.rows(), this.state.store, { pause: async () => {} });
  }

  onLeader(callback: (leader: bigint) => void): () => void {
    const entry = (leader: bigint): void => callback(leader);
    this.#leaderCallbacks.add(entry);
    return () => this.#leaderCallbacks.delete(entry);
  }

  /** How many want to hear of leaders. */
  get leaderListeners(): number {
    return this.#leaderCallbacks.size;
  }

  wakeWatches(): void {
    void Promise.resolve().then(() => {
      while (this.state.watches.catchUp());
    });
  }

  /** Another leader, or none. */
  lead(leader: bigint): void {
    this.position = { ...this.position, leader };
    for (const callback of [...this.#leaderCallbacks]) callback(leader);
  }
}

function entryOf(init: Init<InternalRaftRequest>, { username, revision }: Actor): InternalRaftRequest {
  const header = { ID: 1n, username, authRevision: revision };
  return InternalRaftRequest.decode(InternalRaftRequest.encode({ ...init, header }));
}

function blank(id: bigint): BackendMember {
  return { id, name: '', peerUrls: [], clientUrls: [], isLearner: false };
}

/** What a test says of a call; all of it may be left out. */
export interface CallOptions {
  readonly metadata?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  readonly commonName?: string | undefined;
  readonly via?: ServerCall['via'];
}

export function callOf(path: string, options: CallOptions = {}): ServerCall {
  const metadata: CallMetadata = { get: (name) => options.metadata?.[name] };
  const { signal = new AbortController().signal, commonName, via = 'grpc' } = options;
  return { path, metadata, signal, commonName, via };
}
