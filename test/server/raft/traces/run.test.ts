import { describe, expect, it } from 'vitest';
import { runTrace } from './run.ts';

const FOUND = ['add-nodes 2 voters=(1,2) index=2', '----', 'INFO 1 switched to configuration voters=(1 2)'];
const FOUNDED = [
  ...FOUND,
  'INFO 1 became follower at term 0',
  'INFO 2 switched to configuration voters=(1 2)',
  'INFO 2 became follower at term 0',
  '',
];

function run(...lines: string[]): ReturnType<typeof runTrace> {
  return runTrace('x.txt', lines.join('\n'), { seed: 1 });
}

/** What is wrong with a directive after two members were founded. */
function fault(...directive: string[]): string | undefined {
  const { passed, failure } = run(...FOUNDED, ...directive);
  expect(passed).toBe(1);
  return failure;
}

describe('a difference', () => {
  it('ends the file and is shown with its place', () => {
    const result = run(
      ...FOUNDED,
      'raft-state',
      '----',
      '1: StateFollower (Voter) Term:0 Lead:0',
      '2: StateFollower (Voter) Term:1 Lead:0',
      '',
      'log-level sideways',
      '----',
    );
    expect(result).toEqual({
      passed: 1,
      failure: [
        'x.txt:8: raft-state gives another output',
        '  1: StateFollower (Voter) Term:0 Lead:0',
        '- 2: StateFollower (Voter) Term:1 Lead:0',
        '+ 2: StateFollower (Voter) Term:0 Lead:0',
      ].join('\n'),
    });
  });

  it('is a line too many on either side', () => {
    expect(fault('raft-log 1', '----', 'log is empty: first index=3, last index=2', 'and more')).toContain(
      '- and more',
    );
    expect(fault('raft-state', '----', '1: StateFollower (Voter) Term:0 Lead:0')).toContain('\n+ 2: StateFollower');
    expect(run(...FOUND).failure).toContain('\n+ INFO 1 became follower at term 0');
  });

  it('is an indentation', () => {
    expect(fault('process-ready 1', '----', '  <empty Ready>')).toContain('-   <empty Ready>\n+ <empty Ready>');
  });

  it('is something dropped in silence', () => {
    const lease = ['add-nodes 2 voters=(1,2) index=2 checkquorum=true', '----', ...FOUNDED.slice(2)];
    const elected = ['log-level none', '----', '', 'campaign 1', '----', '', 'stabilize', '----', ''];
    const request = ['campaign 2', '----', '', 'process-ready 2', '----', '', 'log-level info', '----', ''];
    const trace = [...lease, ...elected, ...request, 'deliver-msgs 1', '----', '2->1 MsgVote Term:2 Log:1/3'];
    expect(run(...trace).failure).toContain('+ (dropped in silence: lease-not-expired)');
    expect(run(...trace, 'INFO 1 ignored it: lease is not expired').failure).toBeUndefined();
  });
});

describe('a file', () => {
  it('has commands of one set', () => {
    expect(run('fly 1', '----').failure).toBe('x.txt:1: unknown command fly');
    expect(run('simple', '----', 'removed all voters', '', 'vote', '----', 'VoteWon')).toEqual({
      passed: 0,
      failure: 'x.txt:5: unknown command vote',
    });
  });

  it('has a command at least', () => {
    expect(run('# Nothing.', '').failure).toBe('x.txt:1: the file has no command');
  });

  it('fails with what the core can not survive', () => {
    expect(fault('compact 1 9', '----')).toMatch(/^x\.txt:8: compact failed: compaction at 9 is out of the log/);
  });

  it('that is malformed is not begun', () => {
    expect(run(...FOUNDED, 'campaign 1')).toEqual({ passed: 0, failure: 'x.txt:8: no ---- follows the directive' });
  });

  it('draws election timeouts from the seed', () => {
    const election = [...FOUNDED, 'tick-election 1', '----', 'INFO 1 became candidate at term 1'].join('\n');
    const seeds = Array.from({ length: 12 }, (_, seed) => runTrace('x.txt', election, { seed }).failure === undefined);
    expect(new Set(seeds)).toEqual(new Set([true, false]));
  });
});

describe('arguments of commands', () => {
  it.each([
    ['campaign', 'campaign takes at least 1 bare arguments, not 0'],
    ['campaign 3', 'there is no node 3'],
    ['campaign x', 'x is not a whole number'],
    ['propose 1', 'propose takes 2 bare arguments, not 1'],
    ['propose 1 a b', 'propose takes 2 bare arguments, not 3'],
    ['propose 1 a=b', 'propose has no argument a='],
    ['report-unreachable 1', 'report-unreachable takes 2 bare arguments, not 1'],
    ['add-nodes 1 voter=(1)', 'add-nodes has no argument voter='],
    ['add-nodes 1 prevote=yes', 'yes is neither true nor false'],
    ['add-nodes 1 index=(2,3)', 'index takes one value'],
    ['add-nodes 1 index=9007199254740993', '9007199254740993 is not a whole number'],
    ['add-nodes 1 read-only=never', 'never is no way to read: safe or lease-based'],
    ['deliver-msgs 1 drop=(1)', 'messages to 1 can not be both delivered and dropped'],
    ['deliver-msgs drop=1 1', 'messages to 1 can not be both delivered and dropped'],
    ['deliver-msgs 1 type=MsgFly', 'MsgFly is no kind of message'],
    ['log-level loud', 'loud is no log level'],
    ['set-randomized-election-timeout 1', 'timeout= is missing or 0'],
    ['set-randomized-election-timeout 1 timeout=0', 'timeout= is missing or 0'],
    ['transfer-leadership from=1', 'there is no node '],
    ['transfer-leadership from=1 to=3', 'there is no node 3'],
  ])('%s', (directive, message) => {
    expect(fault(directive, '----')).toBe(`x.txt:8: ${message}`);
  });

  it('may be more of them than a command for one member needs', () => {
    expect(run(...FOUNDED, 'tick-heartbeat 1 2', '----', 'ok').failure).toBeUndefined();
  });
});

describe('arguments about majorities', () => {
  it.each([
    ['committed cfg=(1) idx=(0)', 'an index of 0 is written as _'],
    ['committed cfg=(1,zero)', 'zero is not a whole number'],
    ['committed cfgj=(1,zero)', 'zero is not a whole number'],
    ['vote cfg=(1) votes=(maybe)', 'maybe is no vote: y, n or _'],
    ['vote ids=(1)', 'vote has no argument ids='],
  ])('%s', (directive, message) => {
    expect(run(directive, '----').failure).toBe(`x.txt:1: ${message}`);
  });
});
