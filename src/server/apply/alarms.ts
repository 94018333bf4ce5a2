/**
 * The alarms that members have raised.
 *
 * An alarm is one member's and of one type; it stays until somebody takes it back, through restarts too. Whoever raises
 * one that is raised already is told of it as if it were new, and taking back one that is not raised changes nothing:
 * both as with etcd. A type that nobody knows is never raised (servers of etcd 3.5 end there).
 *
 * @module
 */
import {
  AlarmMember,
  type AlarmRequest,
  AlarmRequestAlarmAction,
  AlarmType,
} from '../../protocol/generated/etcdserverpb.ts';
import { toLatin1 } from '../../protocol/keys.ts';
import type { Alarms } from './state.ts';

export class AlarmBook implements Alarms {
  /** By the keys of their rows. */
  readonly #raised = new Map<string, AlarmMember>();

  list(type: number = AlarmType.NONE): readonly AlarmMember[] {
    const rows = [...this.#raised].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, alarm]) => alarm);
    return type === AlarmType.NONE ? rows : rows.filter(({ alarm }) => alarm === type);
  }

  has(type: number): boolean {
    for (const { alarm } of this.#raised.values()) if (alarm === type) return true;
    return false;
  }

  /** @returns The alarms that were asked for, or that it was about. */
  apply({ action, memberID, alarm }: AlarmRequest): readonly AlarmMember[] {
    const row = { memberID, alarm };
    switch (action) {
      case AlarmRequestAlarmAction.GET:
        return this.list(alarm);
      case AlarmRequestAlarmAction.ACTIVATE:
        if (alarm !== AlarmType.NOSPACE && alarm !== AlarmType.CORRUPT) return [];
        this.#raised.set(rowKey(row), row);
        return [row];
      case AlarmRequestAlarmAction.DEACTIVATE:
        return this.#raised.delete(rowKey(row)) ? [row] : [];
    }
    // An action that nobody knows is none.
    return [];
  }

  /** Becomes what a snapshot says. */
  restore(rows: Iterable<AlarmMember>): void {
    this.#raised.clear();
    for (const { memberID, alarm } of rows) this.#raised.set(rowKey({ memberID, alarm }), { memberID, alarm });
  }
}

function rowKey(alarm: AlarmMember): string {
  return toLatin1(AlarmMember.encode(alarm));
}
