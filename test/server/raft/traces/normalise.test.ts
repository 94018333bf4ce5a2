import { describe, expect, it } from 'vitest';
import { normalise } from './normalise.ts';

describe('normalise', () => {
  it('leaves out log lines, blank lines and ok', () => {
    const output = [
      'ok',
      'DEBUG 1 is busy',
      '  INFO 1 is starting a new election at term 0',
      'WARN x',
      'ERROR x',
      '    FATAL x',
      '',
      '  ',
    ];
    expect(normalise(output.join('\n'))).toEqual([]);
  });

  it('keeps facts, and the indentation that says whose they are', () => {
    const facts = ['> 1 handling Ready', '  <empty Ready>', '  ok', 'INFORMATION', 'raft proposal dropped'];
    expect(normalise(facts.map((line) => `${line}  \n`).join(''))).toEqual(facts);
  });

  it('keeps the log lines of roles, terms and configurations', () => {
    const facts = [
      'INFO 1a became follower at term 3',
      '  INFO 1 became pre-candidate at term 0',
      'INFO 1 became candidate at term 1',
      'INFO 1 became leader at term 1',
      '  INFO 3 switched to configuration voters=(1 2)&&(1) learners_next=(2) autoleave',
    ];
    expect(normalise(facts.join('\n'))).toEqual(facts);
    expect(normalise('INFO 1 became leader at term x\nDEBUG 1 became leader at term 1')).toEqual([]);
  });

  it('keeps kind and place of what is dropped in silence', () => {
    const output = [
      'INFO 2 [logterm: 1, index: 11, vote: 1] ignored MsgVote from 3 [logterm: 1, index: 11] at term 1: lease is not expired (remaining ticks: 3)',
      '  INFO 1 ignoring conf change transition:ConfChangeTransitionAuto at config voters=(1 2): not in joint state',
      '  INFO entry at index 15 missing from unstable log; ignoring',
      '  INFO entry at (index,term)=(4,2) mismatched with entry at (4,1) in unstable log; ignoring',
      '  INFO entry at index 4 matched unstable snapshot; ignoring',
      'INFO 3 [term: 4] ignored entry appends from a MsgStorageAppendResp message with lower term [term: 3]',
    ];
    expect(normalise(output.join('\n'))).toEqual([
      '(dropped in silence: lease-not-expired)',
      '  (dropped in silence: conf-change-ignored)',
      '  (dropped in silence: stable-ignored)',
      '  (dropped in silence: stable-ignored)',
      '  (dropped in silence: stable-ignored)',
      '(dropped in silence: stale-append-response)',
    ]);
  });
});
