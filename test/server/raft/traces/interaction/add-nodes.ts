/**
 * `add-nodes`: members with consecutive ids, from nothing or from a snapshot.
 *
 * @module
 */
import { type MemberId, memberId } from '../../../../../src/protocol/int64.ts';
import { EMPTY_CONF_STATE, type ReadMode, type Snapshot } from '../../../../../src/server/raft/index.ts';
import { type Arguments, all, one, readArguments, text, truth, whole } from '../arguments.ts';
import { CommandError } from '../command-set.ts';
import { type Directive, TraceError } from '../format.ts';
import type { Environment } from './environment.ts';
import type { MemberConfig } from './member.ts';

export const ELECTION_TICKS = 3;
export const HEARTBEAT_TICKS = 1;
const MAX_INFLIGHT = 2 ** 31 - 1;

const SNAPSHOT = ['voters', 'learners', 'index', 'content'];
const SETTINGS = [
  'inflight',
  'async-storage-writes',
  'prevote',
  'checkquorum',
  'max-committed-size-per-ready',
  'disable-conf-change-validation',
  'read-only',
  'step-down-on-removal',
];

/** Runs the command. `random` spreads the election timeouts of all members. */
export function addNodes(env: Environment, directive: Directive, random: (bound: number) => number): void {
  const args = readArguments(directive, { bare: [1, 1], named: [...SNAPSHOT, ...SETTINGS] });
  const count = whole(directive, args.bare[0] as string);
  const founded = SNAPSHOT.some((name) => args.named.has(name));
  const start = readSnapshot(directive, args, founded);
  const config = { ...readConfig(directive, args), applied: start.index, random };
  for (let nth = 0; nth < count; nth += 1) {
    if (founded && start.index <= 1) throw new CommandError('index must be specified as > 1 due to bootstrap');
    env.addMember(config, start, founded);
  }
}

function readSnapshot(directive: Directive, args: Arguments, founded: boolean): Snapshot {
  return {
    index: one(directive, args, 'index', whole) ?? 0,
    term: founded ? 1 : 0,
    data: new TextEncoder().encode(one(directive, args, 'content', text) ?? ''),
    confState: {
      ...EMPTY_CONF_STATE,
      voters: all(directive, args, 'voters', readId),
      learners: all(directive, args, 'learners', readId),
    },
  };
}

function readConfig(directive: Directive, args: Arguments): Omit<MemberConfig, 'random'> {
  const flag = (name: string): boolean => one(directive, args, name, truth) ?? false;
  return {
    electionTicks: ELECTION_TICKS,
    heartbeatTicks: HEARTBEAT_TICKS,
    maxInflightMessages: one(directive, args, 'inflight', whole) ?? MAX_INFLIGHT,
    asyncStorageWrites: flag('async-storage-writes'),
    preVote: flag('prevote'),
    checkQuorum: flag('checkquorum'),
    // 0 stands for the limit of messages, and there is none.
    maxCommittedSizePerReady: one(directive, args, 'max-committed-size-per-ready', whole) || undefined,
    disableConfChangeValidation: flag('disable-conf-change-validation'),
    reads: one(directive, args, 'read-only', readMode),
    stepDownOnRemoval: flag('step-down-on-removal'),
  };
}

function readMode(directive: Directive, value: string): ReadMode {
  if (value === 'safe') return 'safe';
  if (value === 'lease-based') return 'lease';
  throw new TraceError(directive, `${value} is no way to read: safe or lease-based`);
}

function readId(directive: Directive, value: string): MemberId {
  return memberId(whole(directive, value));
}
