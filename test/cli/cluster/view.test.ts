import { describe, expect, it } from 'vitest';
import type { MemberLine } from '../../../src/cli/cluster/supervisor.ts';
import { tableOf, View } from '../../../src/cli/cluster/view.ts';
import { sizeText } from '../../../src/cli/text.ts';

const leader: MemberLine = {
  name: 'm1',
  endpoint: 'http://127.0.0.1:2379',
  state: 'running',
  role: 'leader',
  term: 2,
  index: 1234,
  revision: 17,
  dbSizeBytes: 20_480,
  healthy: true,
};
const gone: MemberLine = {
  name: 'm2',
  endpoint: 'http://127.0.0.1:2381',
  state: 'ended',
  ending: 'code 1',
  healthy: false,
};

it('is a table', () => {
  expect(tableOf([leader, gone])).toBe(
    [
      '   NAME  ENDPOINT               STATE           ROLE    TERM  INDEX  REVISION  DB SIZE  HEALTH',
      '1  m1    http://127.0.0.1:2379  running         leader  2     1234   17        20 kB    healthy',
      '2  m2    http://127.0.0.1:2381  ended (code 1)  -       -     -      -         -        -',
      '',
    ].join('\n'),
  );
});

it('has colours where they are wanted, and the same text', () => {
  const painted = tableOf([leader, gone], true);
  expect(painted).toContain('\x1b[');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what is taken away.
  expect(painted.replaceAll(/\x1b\[\d+m/g, '')).toBe(tableOf([leader, gone]));
});

it.each([
  [0, '0 B'],
  [999, '999 B'],
  [1_536, '1.5 kB'],
  [20_480, '20 kB'],
  [2_147_483_648, '2.0 GB'],
])('%d bytes are %s', (bytes, text) => {
  expect(sizeText(bytes)).toBe(text);
});

describe('on no terminal', () => {
  it('is a line for each change that matters', () => {
    let text = '';
    const view = new View({ write: (more) => (text += more) }, false);
    view.show([leader, gone]);
    view.show([{ ...leader, index: 1235, revision: 18 }, gone]);
    view.show([{ ...leader, role: 'follower', term: 3 }, gone]);
    expect(text).toBe(
      [
        'm1 http://127.0.0.1:2379 running leader term 2 healthy',
        'm2 http://127.0.0.1:2381 ended (code 1)',
        'm1 http://127.0.0.1:2379 running follower term 3 healthy',
        '',
      ].join('\n'),
    );
  });
});

describe('on a terminal', () => {
  it('has no line that is longer than the terminal is wide', () => {
    let text = '';
    const view = new View({ isTTY: true, columns: 20, write: (more) => (text += more) }, false);
    view.keys = 'k'.repeat(30);
    view.show([leader, gone]);
    expect(text.split('\n').map(({ length }) => length)).toEqual([20, 20, 20, 20, 0]);
  });

  it('is drawn over what was there, and what is said stands above it', () => {
    let text = '';
    const view = new View({ isTTY: true, write: (more) => (text += more) }, false);
    view.keys = 'keys';
    view.show([leader]);
    expect(text).toBe(`${tableOf([leader])}keys\n`);
    text = '';
    view.show([leader]);
    expect(text).toBe(`\x1b[3A\x1b[J${tableOf([leader])}keys\n`);
    text = '';
    view.say('hello');
    view.show([leader]);
    expect(text).toBe(`\x1b[3A\x1b[Jhello\n${tableOf([leader])}keys\n`);
  });
});
