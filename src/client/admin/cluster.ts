/**
 * The members of the cluster.
 *
 * Changes of the membership are never repeated by the client: after an ambiguous failure,
 * read the list and look. A cluster checks its own safety first (`--strict-reconfig-check`)
 * and refuses a change that could cost it the quorum, with `etcdCode` `NotEnoughStartedMembers`
 * or `Unhealthy`; the latter also during the first five seconds of a member's life.
 *
 * Source: https://etcd.io/docs/v3.5/op-guide/runtime-configuration/
 *
 * @module
 */

import { Cluster as ClusterService, type Member as WireMember } from '../../protocol/generated/etcdserverpb.ts';
import type { MemberId } from '../../protocol/int64.ts';
import type { CallOptions } from '../call-options.ts';
import type { Caller } from '../connection/caller.ts';
import { InvalidArgumentError } from '../errors.ts';
import { type ResponseHeader, toHeader } from '../header.ts';
import { checkMemberId } from '../ids.ts';
import { requireFeature } from './server-capabilities.ts';
import { LOCAL_READ, READ, WRITE } from './traits.ts';

/** One member of the cluster, as the cluster knows it. */
export interface ClusterMember {
  readonly id: MemberId;
  /** Its own name (`--name`); empty until it has started once. */
  readonly name: string;
  /** Where the other members reach it. */
  readonly peerUrls: readonly string[];
  /** Where it says that clients reach it; empty until it has started once. */
  readonly clientUrls: readonly string[];
  /** Whether it follows without a vote. */
  readonly isLearner: boolean;
}

/** The members of a cluster. */
export interface MembersResult {
  /** Its `revision` is 0: membership is not part of the store's history. */
  readonly header: ResponseHeader;
  /** Sorted by id. */
  readonly members: readonly ClusterMember[];
}

/** A member was added. */
export interface MemberAddResult extends MembersResult {
  /** The new one; it counts from now on, though it has not started. */
  readonly member: ClusterMember;
}

/** How to list the members. */
export interface MembersOptions extends CallOptions {
  /**
   * `true`: the cluster's list, which needs a quorum and etcd 3.5, an UnsupportedError where
   * a member is older. `false`: the answering member's own list, which may be behind.
   * Default: the cluster's list; an etcd 3.4 gives its own one in its place.
   */
  readonly linearizable?: boolean | undefined;
}

/** A member to add. */
export interface NewMember {
  /** Where the others will reach it, as `http://host:2380`. */
  readonly peerUrls: readonly string[];
  /** Whether to add it without a vote, the safe way: promote it when it has caught up. Default false. */
  readonly learner?: boolean | undefined;
}

/** `etcd.cluster`: who the members are. */
export class ClusterApi {
  readonly #caller: Caller;

  /** @internal */
  constructor(caller: Caller) {
    this.#caller = caller;
  }

  /** The members. */
  async members(options: MembersOptions = {}): Promise<MembersResult> {
    const { linearizable, ...call } = options;
    if (linearizable) await requireFeature(this.#caller, 'linearizableMemberList', call);
    const traits = linearizable === false ? LOCAL_READ : READ;
    const request = { linearizable: linearizable ?? true };
    return members(await this.#caller.unary(ClusterService.memberList, request, traits, call));
  }

  /**
   * Adds a member. Start its process next, with `--initial-cluster-state=existing`.
   *
   * @throws EtcdError with `etcdCode` `PeerUrlExists`, `BadMemberUrls`, `TooManyLearners`,
   *   `Unhealthy` or `NotEnoughStartedMembers`.
   */
  async add({ peerUrls, learner = false }: NewMember, options?: CallOptions): Promise<MemberAddResult> {
    const request = { peerURLs: urls(peerUrls), isLearner: learner };
    const answer = await this.#caller.unary(ClusterService.memberAdd, request, WRITE, options);
    return { ...members(answer), member: toClusterMember(answer.member ?? NOBODY) };
  }

  /**
   * Removes a member for good: its id never comes back.
   *
   * @throws EtcdError with `etcdCode` `MemberNotFound` or `NotEnoughStartedMembers`.
   */
  async remove(id: MemberId, options?: CallOptions): Promise<MembersResult> {
    return members(await this.#caller.unary(ClusterService.memberRemove, { ID: checkMemberId(id) }, WRITE, options));
  }

  /**
   * Replaces a member's peer URLs. Not for learners on etcd before 3.5.31: such a server
   * gives them a vote by it.
   *
   * @throws EtcdError with `etcdCode` `MemberNotFound`, `PeerUrlExists` or `BadMemberUrls`.
   */
  async update(id: MemberId, { peerUrls }: Pick<NewMember, 'peerUrls'>, options?: CallOptions): Promise<MembersResult> {
    const request = { ID: checkMemberId(id), peerURLs: urls(peerUrls) };
    return members(await this.#caller.unary(ClusterService.memberUpdate, request, WRITE, options));
  }

  /**
   * Gives a learner a vote.
   *
   * @throws EtcdError with `etcdCode` `LearnerNotReady` while it has not caught up,
   *   `MemberNotLearner` when it has a vote, `MemberNotFound`.
   */
  async promote(id: MemberId, options?: CallOptions): Promise<MembersResult> {
    return members(await this.#caller.unary(ClusterService.memberPromote, { ID: checkMemberId(id) }, WRITE, options));
  }
}

const NOBODY: WireMember = { ID: 0n, name: '', peerURLs: [], clientURLs: [], isLearner: false };

function members(answer: {
  readonly header: Parameters<typeof toHeader>[0];
  readonly members: readonly WireMember[];
}): MembersResult {
  return { header: toHeader(answer.header), members: answer.members.map(toClusterMember) };
}

function toClusterMember({ ID, name, peerURLs, clientURLs, isLearner }: WireMember): ClusterMember {
  return { id: ID as MemberId, name, peerUrls: peerURLs, clientUrls: clientURLs, isLearner };
}

function urls(peerUrls: readonly string[]): readonly string[] {
  if (!Array.isArray(peerUrls) || peerUrls.length === 0) throw new InvalidArgumentError('peerUrls names no URL');
  return peerUrls;
}
