/**
 * Linearizable reads without an entry in the log.
 *
 * The leader notes its commit index when a read is asked for, and answers with it once a quorum has confirmed, in
 * answers to heartbeats sent after that, that it is still the leader. Until an entry of its own term is committed it
 * does not know what is committed, and reads have to wait.
 *
 * Heartbeats carry a position in the leader's own count of reads, never what the caller chose: with callers' contexts,
 * one who asked again with the same context could be confirmed by an old heartbeat's answer, and got a stale index
 * (etcd issue 20418).
 *
 * Source: Ongaro, "Consensus: Bridging Theory and Practice" (2014), §6.4; positions as in raft 3.7.
 *
 * @module
 */
import type { MemberId } from '../../protocol/int64.ts';
import { EMPTY } from '../../protocol/wire.ts';
import { committedByJoint, type JointVoters } from './quorum/joint.ts';
import type { Message } from './types.ts';

/** A read that waits for a quorum. */
export interface PendingRead {
  /** The request as it came: by whom, and with which context. */
  readonly request: Message;
  /** Commit index when it came. */
  readonly index: number;
}

/** The reads of one leader in one term. */
export class ReadQueue {
  readonly #waiting: PendingRead[] = [];
  readonly #acked = new Map<MemberId, number>();
  #confirmed = 0;

  /** How many reads wait. */
  get size(): number {
    return this.#waiting.length;
  }

  /** Position after the last read; what a heartbeat sent now confirms. */
  get position(): number {
    return this.#confirmed + this.#waiting.length;
  }

  /** Context for heartbeats; empty when no read waits. */
  get context(): Uint8Array {
    return this.#waiting.length === 0 ? EMPTY : encodePosition(this.position);
  }

  add(request: Message, index: number): void {
    this.#waiting.push({ request, index });
  }

  /** A member follows this leader, as of a heartbeat with that position. */
  acknowledge(member: MemberId, position: number): void {
    this.#acked.set(member, Math.max(position, this.#acked.get(member) ?? 0));
  }

  /** Takes out the reads that a quorum has confirmed, oldest first. */
  takeConfirmed(voters: JointVoters): readonly PendingRead[] {
    const position = committedByJoint(voters, (id) => this.#acked.get(id));
    const taken = this.#waiting.splice(0, Math.max(0, position - this.#confirmed));
    this.#confirmed += taken.length;
    return taken;
  }
}

/** A position as heartbeats carry it: 8 bytes, the lowest first. */
export function encodePosition(position: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(position), true);
  return bytes;
}

/** Reads a position; undefined if it is none. */
export function decodePosition(context: Uint8Array): number | undefined {
  if (context.length !== 8) return undefined;
  return Number(new DataView(context.buffer, context.byteOffset, 8).getBigUint64(0, true));
}
