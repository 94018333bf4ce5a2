/**
 * What must hold of all members together, looked at with every entry that one of them applies.
 *
 * - one leader: no two members take themselves for the leader of one term.
 * - same entries: the entry at an index is the same for all who apply it, and comes to the same.
 * - applied in order: each run applies entries one after the other, from where its disk has left it.
 * - same state: all who have applied up to an index have the same keys (by the hash that etcd compares too), leases,
 *   users, alarms and members. Looked at every few entries, and so after each restart and each image.
 *
 * It also keeps what the store has been through, by revision, for the checks of what clients were told.
 */
import { AlarmType } from '../../../src/protocol/generated/etcdserverpb.ts';
import type { AppliedEntry, StateMachine } from '../../../src/server/apply/machine.ts';
import type { KvRecord } from '../../../src/server/mvcc/record.ts';
import { recordValue } from '../../../src/server/mvcc/record.ts';
import type { Entry } from '../../../src/server/raft/index.ts';
import type { KeyVersion, LogEntry, LogEvent } from '../../checkers/history.ts';
import { mix } from '../world/random.ts';
import type { StateObserver } from './instrument.ts';
import type { Machine } from './machine.ts';
import type { Verdict } from './violation.ts';

/** How often whole states are compared, in entries; and how often by a run that began from a disk or an image. */
const COMPARE_EVERY = 64;
const COMPARE_FIRST = 16;

interface Fact {
  readonly term: number;
  readonly hash: number;
  readonly revision: number;
  /** The first machine that has applied it. */
  readonly by: number;
}

export class MembersOracle {
  /** What the store has been through. */
  readonly log: LogEntry[] = [];
  /** When the first member applied each revision, by its place in {@link log}; in virtual µs. */
  readonly appliedAtUs: number[] = [];
  /** Members that were removed, as somebody has applied it. */
  readonly removed = new Set<bigint>();
  readonly #verdict: Verdict;
  readonly #nowUs: () => number;
  readonly #leaders = new Map<number, bigint>();
  /** By index, from 1 on. */
  readonly #facts: (Fact | undefined)[] = [];
  readonly #states = new Map<number, { readonly digest: string; readonly by: number }>();
  #frontier = 0;

  constructor(verdict: Verdict, nowUs: () => number) {
    this.#verdict = verdict;
    this.#nowUs = nowUs;
  }

  /** The last index that somebody has applied. */
  get frontier(): number {
    return this.#frontier;
  }

  led(machine: Machine): void {
    const { member, id } = machine;
    if (member === undefined || id === undefined) return;
    const { leader, term } = member.position;
    if (leader !== id) return;
    const known = this.#leaders.get(term);
    this.#leaders.set(term, id);
    this.#verdict.expect(known === undefined || known === id, 'one leader', () => {
      return `member ${machine.ordinal} leads in term ${term}, as another one does`;
    });
  }

  observerOf(machine: Machine): StateObserver {
    let last = 0;
    let compared = false;
    const compare = (state: StateMachine): void => {
      const every = compared ? COMPARE_EVERY : COMPARE_FIRST;
      if (state.index % every !== 0 || !this.#compare(machine, state)) return;
      compared = true;
    };
    return {
      applied: (state, entry, applied) => {
        const { index } = entry;
        this.#verdict.expect(index === last + 1, 'applied in order', () => {
          return `member ${machine.ordinal} applies entry ${index} after ${last}`;
        });
        last = index;
        this.#applied(machine, state, entry, applied);
        compare(state);
      },
      restored: (state) => {
        last = state.index;
        compared = false;
        compare(state);
      },
    };
  }

  #applied(machine: Machine, state: StateMachine, entry: Entry, { outcome }: AppliedEntry): void {
    const { index, term } = entry;
    const fact: Fact = {
      term,
      hash: hashOf(entry, outcome?.type),
      revision: state.store.revision,
      by: machine.ordinal,
    };
    const known = this.#facts[index];
    if (known === undefined) this.#facts[index] = fact;
    else if (known.term !== term || known.hash !== fact.hash || known.revision !== fact.revision) {
      const saw = (of: Fact): string => `term ${of.term}, revision ${of.revision}, hash ${of.hash}`;
      this.#verdict.fail(
        'same entries',
        `entry ${index} is ${saw(fact)} for member ${machine.ordinal}, and ${saw(known)} for ${known.by}`,
      );
    }
    this.#checkAlarms(state);
    if (index > this.#frontier) {
      this.#frontier = index;
      this.#record(state);
      if (entry.type !== 'EntryNormal') for (const id of state.members.rows().removedMembers) this.removed.add(id);
    }
  }

  #record({ store }: StateMachine): void {
    const known = this.log.at(-1)?.revision ?? 1;
    if (store.revision === known) return;
    let entry: { readonly revision: number; readonly events: LogEvent[] } | undefined;
    for (const record of store.history(known + 1, store.revision)) {
      if (record.main !== entry?.revision) {
        entry = { revision: record.main, events: [] };
        this.log.push(entry);
        this.appliedAtUs.push(this.#nowUs());
      }
      entry.events.push(eventOf(record));
    }
  }

  /** Nobody here is corrupt, so nobody is to be taken for it. */
  #checkAlarms(state: StateMachine): void {
    const raised = state.alarms.has(AlarmType.CORRUPT);
    this.#verdict.expect(!raised, 'same state', () => `an alarm of corruption is raised at entry ${state.index}`);
  }

  /** Compares with whoever was first at that index. Says whether there was somebody. */
  #compare(machine: Machine, state: StateMachine): boolean {
    const { index } = state;
    const digest = digestOf(state);
    const known = this.#states.get(index);
    if (known === undefined) {
      this.#states.set(index, { digest, by: machine.ordinal });
      return false;
    }
    if (known.digest !== digest) {
      const at = firstDifference(known.digest, digest);
      this.#verdict.fail(
        'same state',
        `members ${known.by} and ${machine.ordinal} differ after entry ${index}: ` +
          `${known.digest.slice(at, at + 80)} and ${digest.slice(at, at + 80)}`,
      );
    }
    return true;
  }
}

function firstDifference(a: string, b: string): number {
  let at = 0;
  while (at < a.length && a[at] === b[at]) at += 1;
  return Math.max(0, at - 20);
}

/** All of a state that members have in common, as text. */
export function digestOf(state: StateMachine): string {
  const hash = state.hashKv(0);
  const { consistentIndex: _, ...rows } = state.rows();
  const text = (_key: string, value: unknown): unknown => {
    if (typeof value === 'bigint') return value.toString();
    return value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : value;
  };
  return JSON.stringify({ hash, revision: state.store.revision, ...rows }, text);
}

function hashOf({ data, type, term }: Entry, outcome: string | undefined): number {
  let hash = mix(term, data.length);
  for (const byte of data) hash = Math.imul(hash ^ byte, 0x01000193);
  return mix(hash, type.length * 100 + (outcome?.length ?? 0));
}

function eventOf(record: KvRecord): LogEvent {
  return { type: record.isTombstone ? 'delete' : 'put', kv: versionOf(record) };
}

function versionOf(record: KvRecord): KeyVersion {
  const { key, lease, createRevision, main, version, isTombstone } = record;
  const value = isTombstone ? '' : Buffer.from(recordValue(record)).toString('latin1');
  return { key, value, lease: isTombstone ? 0n : lease, createRevision, modRevision: main, version };
}
