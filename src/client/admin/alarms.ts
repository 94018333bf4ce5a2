/**
 * Alarms: what makes a cluster refuse work until an operator has looked.
 *
 * An alarm belongs to one member and binds them all. `nospace`: a database reached its
 * quota; puts and grants fail until space is made (compact, defragment) and the alarm is
 * switched off. `corrupt`: a member's data differs from the others'; all writes fail.
 *
 * Source: https://etcd.io/docs/v3.5/op-guide/maintenance/#space-quota
 *
 * @module
 */

import {
  AlarmRequestAlarmAction as Action,
  type AlarmMember,
  Maintenance,
  AlarmType as WireType,
} from '../../protocol/generated/etcdserverpb.ts';
import type { MemberId } from '../../protocol/int64.ts';
import type { CallOptions } from '../call-options.ts';
import type { Caller } from '../connection/caller.ts';
import { InvalidArgumentError } from '../errors.ts';
import { type ResponseHeader, toHeader } from '../header.ts';
import { checkMemberId } from '../ids.ts';
import { IDEMPOTENT, READ } from './traits.ts';

/** A kind of alarm; `other-…` carries the number of one that came after this client. */
export type AlarmType = 'nospace' | 'corrupt' | `other-${number}`;

/** An alarm that is on. */
export interface Alarm {
  readonly type: AlarmType;
  /** The member it is about. */
  readonly memberId: MemberId;
}

/** Alarms: those that are on, or those that a call changed. */
export interface AlarmsResult {
  /** All zero from etcd 3.4, which sends none with alarms. */
  readonly header: ResponseHeader;
  readonly alarms: readonly Alarm[];
}

/** `etcd.maintenance.alarms`. */
export class AlarmApi {
  readonly #caller: Caller;

  /** @internal */
  constructor(caller: Caller) {
    this.#caller = caller;
  }

  /** The alarms that are on. The list goes through Raft, so it needs a quorum. */
  async list(options?: CallOptions): Promise<AlarmsResult> {
    return this.#ask(Action.GET, { alarm: WireType.NONE }, READ, options);
  }

  /**
   * Switches an alarm on; for drills. Twice is the same as once, so it is repeated when a
   * reply is lost.
   */
  async activate(alarm: Alarm, options?: CallOptions): Promise<AlarmsResult> {
    return this.#ask(Action.ACTIVATE, toWire(alarm), IDEMPOTENT, options);
  }

  /**
   * Switches one alarm off. One that is not on stays off: the answer is then empty. Repeated
   * when a reply is lost. What the alarm was about comes back at once if its cause is still there.
   */
  async deactivate(alarm: Alarm, options?: CallOptions): Promise<AlarmsResult> {
    return this.#ask(Action.DEACTIVATE, toWire(alarm), IDEMPOTENT, options);
  }

  /**
   * Switches off the alarms that are on, or those of one type; the answer has them. The time
   * given is for each call, and there is one call for each alarm.
   */
  async disarmAll(options: CallOptions & { readonly type?: AlarmType | undefined } = {}): Promise<AlarmsResult> {
    const { type, ...call } = options;
    const { header, alarms } = await this.list(call);
    const off: Alarm[] = [];
    let last = header;
    for (const alarm of alarms) {
      if (type !== undefined && alarm.type !== type) continue;
      const answer = await this.deactivate(alarm, call);
      last = answer.header;
      off.push(...answer.alarms);
    }
    return { header: last, alarms: off };
  }

  async #ask(
    action: Action,
    alarm: { readonly alarm: number; readonly memberID?: MemberId },
    traits: typeof READ,
    options: CallOptions | undefined,
  ): Promise<AlarmsResult> {
    // A number outside the enum is one that a newer server may know.
    const request = { action, ...alarm, alarm: alarm.alarm as WireType };
    const { header, alarms } = await this.#caller.unary(Maintenance.alarm, request, traits, options);
    return { header: toHeader(header), alarms: alarms.map(toAlarm) };
  }
}

function toAlarm({ memberID, alarm }: AlarmMember): Alarm {
  return { type: toType(alarm), memberId: memberID as MemberId };
}

function toType(type: number): AlarmType {
  if (type === WireType.NOSPACE) return 'nospace';
  return type === WireType.CORRUPT ? 'corrupt' : `other-${type}`;
}

function toWire({ type, memberId }: Alarm): { alarm: number; memberID: MemberId } {
  checkMemberId(memberId);
  const other = /^other-(\d{1,9})$/.exec(type)?.[1];
  if (type === 'nospace') return { alarm: WireType.NOSPACE, memberID: memberId };
  if (type === 'corrupt') return { alarm: WireType.CORRUPT, memberID: memberId };
  if (other === undefined) throw new InvalidArgumentError(`alarm type ${JSON.stringify(type)} is unknown`);
  return { alarm: Number(other), memberID: memberId };
}
