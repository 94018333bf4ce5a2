/** Entries and requests as people write them, and a machine that takes them. */
import { AlarmRequestAlarmAction, type AlarmType } from '../../../src/protocol/generated/etcdserverpb.ts';
import { InternalRaftRequest } from '../../../src/protocol/generated/raftinternalpb.ts';
import type { MemberId } from '../../../src/protocol/int64.ts';
import { toBytes } from '../../../src/protocol/keys.ts';
import type { Init } from '../../../src/protocol/wire.ts';
import { type AppliedEntry, StateMachine, type StateMachineOptions } from '../../../src/server/apply/machine.ts';
import { encodeMemberContext } from '../../../src/server/apply/member-context.ts';
import type { Outcome } from '../../../src/server/apply/outcome.ts';
import type { AppliedLogin, TokenProvider } from '../../../src/server/auth/tokens.ts';
import { type ConfChangeType, confChangeEntry } from '../../../src/server/raft/conf-change.ts';
import type { EntryType } from '../../../src/server/raft/types.ts';
import { writeBackend } from '../../../src/server/snapshot/backend-image.ts';
import { readBackendState, readStore } from '../../../src/server/snapshot/backend-reader.ts';
import type { BackendMember } from '../../../src/server/snapshot/backend-state.ts';
import { imageBytes, noPause, open } from '../snapshot/support.ts';

export type Request = Init<InternalRaftRequest>;

/** Writes down what it is told. */
export class TokenLog implements TokenProvider {
  readonly logins: AppliedLogin[] = [];
  readonly voided: string[] = [];

  prefix(): string {
    return '';
  }

  assign(login: AppliedLogin): void {
    this.logins.push(login);
  }

  issue(): Promise<string> {
    return Promise.resolve('');
  }

  resolve(): never {
    throw new Error('nobody logs in');
  }

  invalidateUser(name: string): void {
    this.voided.push(name);
  }

  reset(): void {
    this.voided.push('*');
  }
}

/** A machine with its place in a log. */
export class Bench {
  readonly tokens = new TokenLog();
  readonly machine: StateMachine;

  constructor(options: Partial<StateMachineOptions> = {}) {
    this.machine = new StateMachine({ tokens: this.tokens, minTtlSeconds: 2, quotaBytes: 0, ...options });
  }

  /** Applies bytes as the next entry. */
  raw(data: Uint8Array, type: EntryType = 'EntryNormal', now = 0): AppliedEntry {
    return this.machine.apply({ term: 1, index: this.machine.index + 1, type, data }, now);
  }

  entry(request: Request, now = 0): AppliedEntry {
    return this.raw(new Uint8Array(InternalRaftRequest.encode(request)), 'EntryNormal', now);
  }

  /** Applies a request. @returns What it came to. */
  do(request: Request, now = 0): Outcome {
    return this.entry(request, now).outcome as Outcome;
  }

  /** The text of the refusal, or the type of the result. */
  say(request: Request): string {
    return saidOf(this.do(request));
  }

  put(key: string, value = '', lease = 0n): Outcome {
    return this.do(put(key, value, lease));
  }

  change(type: ConfChangeType, member: Partial<BackendMember> & { id: bigint }, isPromote = false): AppliedEntry {
    const full = { name: '', peerUrls: [], clientUrls: [], isLearner: type === 'add-learner', ...member };
    const context = encodeMemberContext({ member: full, isPromote });
    const { data, type: entryType } = confChangeEntry({ type, nodeId: member.id as MemberId, id: 7n, context });
    return this.raw(data, entryType);
  }
}

export function saidOf(outcome: Outcome | undefined): string {
  return outcome?.type === 'refused' ? outcome.refusal.text : String(outcome?.type);
}

export function put(key: string, value = '', lease = 0n): Request {
  return { put: { key: toBytes(key), value: toBytes(value), lease } };
}

export function remove(key: string, end = ''): Request {
  return { deleteRange: { key: toBytes(key), rangeEnd: toBytes(end) } };
}

export function compact(revision: number): Request {
  return { compaction: { revision: BigInt(revision) } };
}

export function raise(alarm: AlarmType, memberID = 1n): Request {
  return { alarm: { action: AlarmRequestAlarmAction.ACTIVATE, memberID, alarm } };
}

export function disarm(alarm: AlarmType, memberID = 1n): Request {
  return { alarm: { action: AlarmRequestAlarmAction.DEACTIVATE, memberID, alarm } };
}

/** Takes everything by way of an image into a new machine. */
export async function reborn(machine: StateMachine, options: Partial<StateMachineOptions> = {}): Promise<Bench> {
  const bytes = await imageBytes(await writeBackend(machine.rows(), machine.store, { pause: noPause }));
  const bench = new Bench(options);
  const file = await open(bytes);
  await bench.machine.restore(await readBackendState(file), (leases) => readStore(file, leases));
  return bench;
}

/** All of a machine's state that members share, to compare. */
export function sharedState(machine: StateMachine): object {
  const rows = plain(machine.rows()) as object;
  const { store, lessor } = machine;
  const attached = machine.rows().leases;
  return {
    ...rows,
    revision: store.revision,
    compactRevision: store.compactRevision,
    hash: machine.hashKv(0),
    attached: Array.from(attached, ({ ID }) => [ID, [...lessor.keysOf(ID)].sort()]),
  };
}

/** Bytes as hex: a buffer and a view of the same bytes are equal then. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (typeof value !== 'object' || value === null) return value;
  if (Symbol.iterator in value) return Array.from(value as Iterable<unknown>, plain);
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, plain(part)]));
}
