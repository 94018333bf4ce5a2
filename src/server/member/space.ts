/**
 * Whether there is room for a request, and the alarm if there is not.
 *
 * Most requests are admitted by a bound on what they can cost, from their length alone; only near the quota they are
 * looked at.
 *
 * @module
 */
import { AlarmRequestAlarmAction, AlarmType } from '../../protocol/generated/etcdserverpb.ts';
import { InternalRaftRequest } from '../../protocol/generated/raftinternalpb.ts';
import type { StateMachine } from '../apply/machine.ts';
import { costOf } from '../apply/quota.ts';

/** An operation is at least so many bytes of a request, */
const MIN_OP_BYTES = 4;
/** and what it puts costs at most so much more than its bytes. */
const MAX_OP_COST_BYTES = 256;

/** See the head of this file. */
export class Space {
  readonly #id: bigint;
  readonly #state: StateMachine;
  readonly #raise: (alarm: { action: AlarmRequestAlarmAction; memberID: bigint; alarm: AlarmType }) => Promise<unknown>;
  #raising = false;

  /** @param raise Proposes that an alarm is raised. */
  constructor(
    id: bigint,
    state: StateMachine,
    raise: (alarm: { action: AlarmRequestAlarmAction; memberID: bigint; alarm: AlarmType }) => Promise<unknown>,
  ) {
    this.#id = id;
    this.#state = state;
    this.#raise = raise;
  }

  /** Whether an encoded request fits. If not the alarm is raised. */
  admits(data: Uint8Array): boolean {
    const { quota, sizeBytes } = this.#state;
    const bound = data.length + MAX_OP_COST_BYTES * (1 + data.length / MIN_OP_BYTES);
    if (quota.admits(bound, sizeBytes)) return true;
    if (quota.admits(costOf(InternalRaftRequest.decode(data)), sizeBytes)) return true;
    this.alarm();
    return false;
  }

  /** Raises the alarm, unless it is raised or about to be. */
  alarm(): void {
    if (this.#raising || this.#state.alarms.has(AlarmType.NOSPACE)) return;
    this.#raising = true;
    const done = (): void => {
      this.#raising = false;
    };
    this.#raise({ action: AlarmRequestAlarmAction.ACTIVATE, memberID: this.#id, alarm: AlarmType.NOSPACE }).then(
      done,
      done,
    );
  }
}
