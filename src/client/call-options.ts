/**
 * What every call of the client takes.
 *
 * @module
 */

/** Options of a single call; the same on every method. */
export interface CallOptions {
  /** Ends the call when it fires. A write that was under way rejects with `applied: 'maybe'`. */
  readonly signal?: AbortSignal | undefined;
  /** How long the call may take in all, retries included. Default: the client's `timeoutMs`, 5000. */
  readonly timeoutMs?: number | undefined;
  /**
   * Sends the call to this member and no other: one of the client's endpoints, or any
   * address that the client's TLS and auth options fit. Default: any member.
   */
  readonly endpoint?: string | undefined;
  /**
   * Whether a member that has lost its leader refuses the call at once, so that it goes to
   * another. Default true; serializable reads never ask for a leader.
   */
  readonly requireLeader?: boolean | undefined;
}
