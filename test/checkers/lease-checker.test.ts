import { describe, expect, it } from 'vitest';
import { checkLeases, type LeaseHistory, type LeaseTruth } from './lease-checker.ts';
import { logOf } from './support/build.ts';

// All times in seconds here, to be read: a lease of 10 s, granted from 0 s to 1 s, with its key put at 2 s.
interface Case {
  readonly name: string;
  /** What the store did after `a=1@7` in revision 2, and when it was seen. Default: nothing. */
  readonly then?: readonly (readonly [text: string, atSeconds: number])[];
  /** Of those, revisions of clients' operations. Default: none. */
  readonly clients?: readonly number[];
  /** Sent, answered, and the TTL; without an answer: sent. */
  readonly keepalives?: readonly (readonly [number, number, number] | readonly [number])[];
  /** Sent, answered or not. */
  readonly revokes?: readonly (readonly [number, number] | readonly [number])[];
  /** Sent, answered, what is left, and what was granted. */
  readonly questions?: readonly (readonly [number, number, number, number])[];
  readonly reigns?: readonly (readonly [number, number])[];
  /** Default: 100. */
  readonly until?: number;
  /** The rules that are broken. */
  readonly rules?: readonly string[];
}

const CASES: readonly Case[] = [
  { name: 'ends in time', then: [['!7', 11]] },
  { name: 'ends as late as it may', then: [['!7', 12.9]] },
  { name: 'ends as early as it may', then: [['!7', 10]] },
  { name: 'ends early', then: [['!7', 9.9]], rules: ['early'] },
  { name: 'ends late', then: [['!7', 13.2]], rules: ['late'] },
  { name: 'never ends', rules: ['late'] },
  { name: 'has not had to end yet', until: 12 },
  {
    name: 'lives as long as it is renewed',
    keepalives: [
      [5, 6, 10],
      [12, 13, 10],
    ],
    then: [['!7', 23]],
  },
  { name: 'ends early after a renewal', keepalives: [[5, 6, 10]], then: [['!7', 14.9]], rules: ['early'] },
  { name: 'counts from when a renewal was sent, not answered', keepalives: [[5, 9, 10]], then: [['!7', 15.1]] },
  { name: 'may be renewed by what was not answered', keepalives: [[9]], then: [['!7', 21.5]] },
  { name: 'need not be renewed by what was not answered', keepalives: [[9]], then: [['!7', 11]] },
  {
    name: 'is not renewed for ever by what was not answered',
    keepalives: [[9]],
    then: [['!7', 26.1]],
    rules: ['late'],
  },
  {
    name: 'is renewed before it ends, answered after',
    keepalives: [[9, 12, 10]],
    then: [['!7', 11]],
    rules: ['early'],
  },
  {
    name: 'is renewed when it is gone',
    keepalives: [[14, 15, 10]],
    then: [['!7', 11]],
    rules: ['late', 'renewed-after-end'],
  },
  { name: 'is renewed when it had to be gone', keepalives: [[40, 41, 10]], until: 50, rules: ['late'] },
  { name: 'is told gone when it is', keepalives: [[14, 15, 0]], then: [['!7', 11]] },
  { name: 'is told gone before it is', keepalives: [[5, 6, 0]], then: [['!7', 11]], rules: ['early', 'left-behind'] },
  { name: 'is renewed with another time', keepalives: [[5, 6, 3]], then: [['!7', 16]], rules: ['wrong-ttl'] },
  { name: 'is revoked', revokes: [[4, 5]], then: [['!7', 4.5]] },
  { name: 'is revoked, and its key stays for a while', revokes: [[4, 5]], then: [['!7', 6]], rules: ['left-behind'] },
  { name: 'is revoked, and its key stays', revokes: [[4, 5]], rules: ['late', 'left-behind'] },
  { name: 'may have been revoked', revokes: [[4]], then: [['!7', 4.5]] },
  { name: 'ends before somebody may have revoked it', revokes: [[6]], then: [['!7', 4.5]], rules: ['early'] },
  { name: 'lives on if nobody revoked it', revokes: [[6]], then: [['!7', 11]] },
  { name: 'is found when it is there', questions: [[4, 5, 6, 10]], then: [['!7', 11]] },
  { name: 'is told to have less than it has', questions: [[4, 5, 3, 10]], then: [['!7', 11]], rules: ['shortened'] },
  {
    name: 'is told to have less by a leader that does not know',
    questions: [[4, 5, 3, 10]],
    then: [['!7', 14]],
    reigns: [
      [0, 2],
      [3, 100],
    ],
  },
  {
    name: 'is found when it had to be gone',
    questions: [[30, 31, 1, 10]],
    then: [['-a', 3]],
    clients: [3],
    rules: ['late'],
  },
  { name: 'is asked for when it is gone', questions: [[12, 13, -1, 0]], then: [['!7', 11]] },
  {
    name: 'is told gone too early, without a key',
    questions: [[4, 5, -1, 0]],
    then: [['-a', 3]],
    clients: [3],
    rules: ['early'],
  },
  {
    name: 'has its time again from a new leader',
    then: [['!7', 20.9]],
    reigns: [
      [0, 6],
      [8, 100],
    ],
  },
  {
    name: 'has no more than that from a new leader',
    then: [['!7', 21.5]],
    reigns: [
      [0, 6],
      [8, 100],
    ],
    rules: ['late'],
  },
  {
    name: 'has it again and again from new leaders',
    then: [['!7', 47]],
    reigns: [
      [0, 6],
      [8, 15],
      [17, 25],
      [34, 100],
    ],
  },
  {
    name: 'is not shortened by a new leader',
    then: [['!7', 9]],
    reigns: [
      [0, 6],
      [8, 100],
    ],
    rules: ['early'],
  },
  { name: 'does not end while nobody leads', reigns: [[0, 6]] },
  {
    name: 'takes all keys with it',
    then: [
      ['b=1@7', 3],
      ['!7', 11],
    ],
    clients: [3],
  },
  {
    name: 'leaves keys that were put without it',
    then: [
      ['b=1', 3],
      ['!7', 11],
    ],
    clients: [3],
  },
  {
    name: 'leaves keys that no longer hang on it',
    then: [
      ['b=1@7', 3],
      ['b=2', 4],
      ['!7', 11],
    ],
    clients: [3, 4],
  },
  {
    name: 'leaves a key behind',
    then: [
      ['b=1@7', 3],
      ['-a', 11],
    ],
    clients: [3],
    rules: ['partial-end', 'late', 'left-behind'],
  },
  {
    name: 'takes its keys one by one',
    then: [
      ['b=1@7', 3],
      ['-a', 11],
      ['-b', 11.5],
    ],
    clients: [3],
    rules: ['partial-end', 'left-behind'],
  },
  {
    name: 'takes a key that is not its own',
    then: [
      ['b=1', 3],
      ['-[a,c)', 11],
    ],
    clients: [3],
    rules: ['partial-end'],
  },
  {
    name: 'gets a key when it is gone',
    then: [
      ['!7', 11],
      ['b=1@7', 12],
    ],
    clients: [4],
    rules: ['attached-after-end'],
  },
  {
    name: 'is told gone when it is late',
    keepalives: [[12, 14, 0]],
    then: [['!7', 15]],
    rules: ['late', 'left-behind'],
  },
  {
    name: 'gets a key at the time at which it ends',
    then: [
      ['!7', 11],
      ['b=1@7', 11],
    ],
    clients: [4],
    rules: ['attached-after-end'],
  },
  {
    name: 'gets a key when it is gone without one',
    then: [
      ['-a', 3],
      ['b=1@7', 20],
    ],
    clients: [3, 4],
    questions: [[12, 13, -1, 0]],
    rules: ['late', 'attached-after-end'],
  },
  {
    name: 'leaves a key behind that was put as it ended',
    then: [
      ['b=1@7', 11],
      ['-a', 11],
    ],
    clients: [3],
    rules: ['partial-end', 'late', 'left-behind'],
  },
  { name: 'loses its key by a delete', then: [['-a', 3]], clients: [3] },
  {
    name: 'may not be what a change comes from',
    then: [
      ['-a', 3],
      ['b=1', 4],
    ],
    clients: [3],
    rules: ['not-an-end'],
  },
];

const ms = (seconds: number): number => Math.round(seconds * 1_000);

function run(one: Case, crowd = 1) {
  const { then = [], clients = [], reigns = [[0, 100]], until = 100 } = one;
  const log = logOf('a=1@7', ...then.map(([text]) => text));
  const seen = new Map([[2, 2], ...then.map(([, at], index) => [index + 3, at] as const)]);
  const truth: LeaseTruth = {
    log,
    seenAtMs: (revision) => ms(seen.get(revision) ?? 0),
    clientRevisions: new Set([2, ...clients]),
    reigns: reigns.map(([from, to]) => ({ fromMs: ms(from), toMs: ms(to) })),
    endMs: ms(until),
    limits: { electionTimeoutMs: 1_000, slackMs: 2_000, inFlightMs: 5_000, endsPerSecond: 1_000 },
  };
  const lease: LeaseHistory = {
    id: 7n,
    ttlSeconds: 10,
    grant: { sentAtMs: 0, answeredAtMs: 1_000 },
    keepalives: (one.keepalives ?? []).map(([sent, answered, ttlSeconds]) => ({
      sentAtMs: ms(sent),
      answeredAtMs: answered === undefined ? undefined : ms(answered),
      ttlSeconds,
    })),
    revokes: (one.revokes ?? []).map(([sent, answered]) => ({
      sentAtMs: ms(sent),
      answeredAtMs: answered === undefined ? undefined : ms(answered),
    })),
    questions: (one.questions ?? []).map(([sent, answered, remainingSeconds, grantedSeconds]) => ({
      sentAtMs: ms(sent),
      answeredAtMs: ms(answered),
      remainingSeconds,
      grantedSeconds,
    })),
  };
  const others = Array.from({ length: crowd - 1 }, (_, index) => ({ ...lease, id: BigInt(index + 100) }));
  return checkLeases(truth, [lease, ...others]).filter((finding) => finding.lease !== 100n);
}

describe('a lease', () => {
  it.each(CASES)('$name', (one) => {
    expect(run(one).map(({ rule }) => rule)).toEqual(one.rules ?? []);
  });

  it('is named, with the revision and what was wrong', () => {
    expect(run({ name: '', keepalives: [[5, 6, 10]], then: [['!7', 14]] })).toEqual([
      {
        rule: 'early',
        lease: 7n,
        revision: 3,
        message:
          'lease 7: its keys went in revision 3 by 14000 ms; it was renewed by a request of 5000 ms ' +
          'and so had until 15000 ms',
      },
    ]);
  });

  it('may be put off by others that end with it', () => {
    const late: Case = { name: '', then: [['!7', 13.9]] };
    expect(run(late, 10).map(({ rule }) => rule)).toEqual(['late']);
    expect(run(late, 1_000)).toEqual([]);
  });

  it('is granted once', () => {
    const lease = { id: 7n, ttlSeconds: 10, grant: { sentAtMs: 0 }, keepalives: [], revokes: [], questions: [] };
    const truth: LeaseTruth = {
      log: [],
      seenAtMs: () => 0,
      clientRevisions: new Set(),
      reigns: [],
      endMs: 0,
      limits: { electionTimeoutMs: 0, slackMs: 0, inFlightMs: 0 },
    };
    expect(() => checkLeases(truth, [lease, lease])).toThrow(RangeError);
  });
});
