/**
 * Ends streams that asked for a leader once there has been none for long.
 *
 * Nothing runs while nobody asks, and while there is a leader only a callback waits. Three election timeouts are a
 * while in which a new leader is found, if one can be.
 *
 * Source: etcd's `hasleader` metadata, as clients of 3.5 see it.
 *
 * @module
 */
import type { ServingMember } from '../member/serving.ts';

/** How many election timeouts may pass without a leader. */
const PATIENCE = 3;

/** Watches over the streams of one member. */
export class LeaderWatch {
  readonly #member: ServingMember;
  readonly #patienceMs: number;
  readonly #streams = new Set<() => void>();
  #unsubscribe: (() => void) | undefined;
  #callOff: (() => void) | undefined;

  constructor(member: ServingMember, electionTimeoutMs: number) {
    this.#member = member;
    this.#patienceMs = PATIENCE * electionTimeoutMs;
  }

  /** Calls `cut` once there has been no leader for long. @returns Ends that. */
  guard(cut: () => void): () => void {
    // Two streams may bring the same function.
    const entry = (): void => cut();
    this.#streams.add(entry);
    if (!this.#unsubscribe) {
      this.#unsubscribe = this.#member.onLeader((leader) => this.#changed(leader));
      this.#changed(this.#member.position.leader);
    }
    return () => {
      if (this.#streams.delete(entry) && this.#streams.size === 0) this.#rest();
    };
  }

  #changed(leader: bigint): void {
    if (leader !== 0n) {
      this.#callOff?.();
      this.#callOff = undefined;
      return;
    }
    this.#callOff ??= this.#member.after(this.#patienceMs, () => {
      this.#callOff = undefined;
      const streams = [...this.#streams];
      this.#streams.clear();
      this.#rest();
      for (const cut of streams) cut();
    });
  }

  #rest(): void {
    this.#callOff?.();
    this.#callOff = undefined;
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
  }
}
