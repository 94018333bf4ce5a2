/**
 * The consensus core as a member runs it: etcd's settings, and asynchronous writes.
 *
 * @module
 */
import { RawNode } from '../raft/index.ts';
import type { Booted } from './boot.ts';
import type { ResolvedOptions } from './options.ts';

/** Bytes of entries in one message to a follower, and messages on their way to one; as etcd has them. */
const MAX_MESSAGE_BYTES = 1024 * 1024;
const MAX_INFLIGHT_MESSAGES = 512;

/** Makes the core of what a member starts from; a member that founds a cluster does so here. */
export function newCore(
  { id, log, applied, founders }: Booted,
  { random, electionTicks }: Pick<ResolvedOptions, 'random' | 'electionTicks'>,
): RawNode {
  const core = new RawNode({
    id,
    storage: log,
    applied,
    random,
    electionTicks,
    heartbeatTicks: 1,
    asyncStorageWrites: true,
    preVote: true,
    checkQuorum: true,
    stepDownOnRemoval: true,
    refusalsTellCommit: true,
    maxSizePerMessage: MAX_MESSAGE_BYTES,
    maxInflightMessages: MAX_INFLIGHT_MESSAGES,
  });
  if (founders) core.bootstrap(founders);
  return core;
}
