/**
 * The commands of traces about majorities: `committed cfg=(…) [cfgj=(…)] idx=(…)` and
 * `vote cfg=(…) [cfgj=(…)] votes=(…)`.
 *
 * With `cfgj` the configuration is joint; `cfgj=zero` is an empty second half. Indexes and votes belong to the ids of
 * `cfg` and then `cfgj`, each id once; `_` is one of which nothing is known. Each result is computed in other ways too;
 * those that differ are printed, which no trace expects.
 *
 * @module
 */
import { type MemberId, memberId } from '../../../../src/protocol/int64.ts';
import {
  allVoters,
  committedByJoint,
  type JointVoters,
  sortedIds,
  voteOfJoint,
} from '../../../../src/server/raft/quorum/joint.ts';
import { committedByMajority, type VoteResult, voteOfMajority } from '../../../../src/server/raft/quorum/majority.ts';
import { all, readArguments, whole } from './arguments.ts';
import type { CommandSet } from './command-set.ts';
import { type Directive, TraceError } from './format.ts';

export const quorumCommands: CommandSet = {
  commands: new Set(['committed', 'vote']),
  start: () => (directive) => {
    const question = readQuestion(directive);
    const voters = allVoters(question.voters);
    const given = directive.command === 'vote' ? question.votes : question.indexes;
    if (given.length !== voters.length) {
      const map = voters.map((id) => `${id}:{}`).join(' ');
      return `error: mismatched input (explicit or _) for voters map[${map}]: [${given.join(' ')}]`;
    }
    return directive.command === 'vote' ? vote(question) : committed(question);
  },
};

interface Question {
  /** Ids of both halves as they are written. */
  readonly order: readonly MemberId[];
  readonly voters: JointVoters;
  readonly joint: boolean;
  /** By place in `order`; 0 where nothing is known. */
  readonly indexes: readonly number[];
  /** By place in `order`; 2 yes, 1 no, 0 where nothing is known. */
  readonly votes: readonly number[];
}

type Known<T> = ReadonlyMap<MemberId, T>;

const VOTES: ReadonlyMap<string, number> = new Map([
  ['y', 2],
  ['n', 1],
  ['_', 0],
]);
const RESULTS: Readonly<Record<VoteResult, string>> = { pending: 'VotePending', lost: 'VoteLost', won: 'VoteWon' };

function readQuestion(directive: Directive): Question {
  const args = readArguments(directive, { bare: [0, 0], named: ['cfg', 'cfgj', 'idx', 'votes'] });
  const incoming = all(directive, args, 'cfg', readId);
  const half = args.named.get('cfgj');
  const zero = half?.length === 1 && half[0] === 'zero';
  const outgoing = zero ? [] : all(directive, args, 'cfgj', readId);
  return {
    order: [...new Set([...incoming, ...outgoing])],
    voters: { incoming: sortedIds(new Set(incoming)), outgoing: sortedIds(new Set(outgoing)) },
    joint: half !== undefined,
    indexes: all(directive, args, 'idx', readIndex),
    votes: all(directive, args, 'votes', readVote),
  };
}

function readId(directive: Directive, value: string): MemberId {
  return memberId(whole(directive, value));
}

function readIndex(directive: Directive, value: string): number {
  if (value === '_') return 0;
  const index = whole(directive, value);
  if (index === 0) throw new TraceError(directive, 'an index of 0 is written as _');
  return index;
}

function readVote(directive: Directive, value: string): number {
  const read = VOTES.get(value);
  if (read === undefined) throw new TraceError(directive, `${value} is no vote: y, n or _`);
  return read;
}

/** What is known, by id. */
function known(order: readonly MemberId[], values: readonly number[]): Known<number> {
  const pairs = order.map((id, place) => [id, values[place] ?? 0] as const);
  return new Map(pairs.filter(([, value]) => value !== 0));
}

function committed({ order, voters, joint, indexes }: Question): string {
  const acked = known(order, indexes);
  const { incoming, outgoing } = voters;
  const result = joint ? committedByJointOf(voters, acked) : committedByMajorityOf(incoming, acked);
  const lines = [chart(allVoters(voters), acked)];
  const check = (other: number, how: string): void => {
    if (other !== result) lines.push(`${describeIndex(other)} <-- ${how}\n`);
  };
  if (joint) check(committedByJointOf({ incoming: outgoing, outgoing: incoming }, acked), 'via symmetry');
  else {
    check(bySearch(incoming, acked), 'via alternative computation');
    check(committedByJointOf({ incoming, outgoing: [] }, acked), 'via zero-joint quorum');
    check(committedByJointOf({ incoming, outgoing: incoming }, acked), 'via self-joint quorum');
    for (const id of incoming) {
      const own = acked.get(id) ?? 0;
      if (own === 0 || own >= result) continue;
      // Who is below what is committed does not count; still lower changes nothing.
      for (const lower of [own - 1, 0]) {
        check(committedByMajorityOf(incoming, new Map([...acked, [id, lower]])), `overlaying ${id}->${lower}`);
      }
    }
  }
  return `${lines.join('')}${describeIndex(result)}\n`;
}

function committedByMajorityOf(voters: readonly MemberId[], acked: Known<number>): number {
  return committedByMajority(voters, (id) => acked.get(id));
}

function committedByJointOf(voters: JointVoters, acked: Known<number>): number {
  return committedByJoint(voters, (id) => acked.get(id));
}

/** The highest of the indexes that more than half of the voters have reached, found by trying each. */
function bySearch(voters: readonly MemberId[], acked: Known<number>): number {
  if (voters.length === 0) return Number.POSITIVE_INFINITY;
  const reached = voters.map((id) => acked.get(id) ?? 0);
  const enough = [0, ...reached].filter((index) => {
    return reached.filter((other) => other >= index).length > voters.length / 2;
  });
  return Math.max(...enough);
}

function vote({ order, voters, joint, votes }: Question): string {
  const given = known(order, votes);
  const voted = (id: MemberId): boolean | undefined => (given.has(id) ? given.get(id) === 2 : undefined);
  const { incoming, outgoing } = voters;
  const result = joint ? voteOfJoint(voters, voted) : voteOfMajority(incoming, voted);
  const mirrored = joint ? voteOfJoint({ incoming: outgoing, outgoing: incoming }, voted) : result;
  const differs = mirrored === result ? '' : `${RESULTS[mirrored]} <-- via symmetry\n`;
  return `${differs}${RESULTS[result]}\n`;
}

/** For each voter its index, with a bar as long as there are voters with lower ones. */
function chart(voters: readonly MemberId[], acked: Known<number>): string {
  const width = voters.length;
  if (width === 0) return '<empty majority quorum>';
  const reached = voters.map((id) => acked.get(id) ?? 0);
  const lines = voters.map((id) => {
    const index = acked.get(id) ?? 0;
    const bar = 'x'.repeat(reached.filter((other) => other < index).length);
    const mark = acked.has(id) ? `${bar}>`.padEnd(width + 1) : '?'.padEnd(width + 1);
    return `${mark} ${describeIndex(index).padStart(5)}    (id=${id})\n`;
  });
  return `${' '.repeat(width)}    idx\n${lines.join('')}`;
}

function describeIndex(index: number): string {
  return Number.isFinite(index) ? String(index) : '∞';
}
