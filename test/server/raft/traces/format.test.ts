import { describe, expect, it } from 'vitest';
import { parseTrace } from './format.ts';

/** A file of those lines. */
function parse(...lines: string[]): ReturnType<typeof parseTrace> {
  return parseTrace('x.txt', lines.join('\n'));
}

/** Arguments of a directive, as `key` and its values. */
function args(directive: string): unknown[] {
  return parse(directive, '----')[0]!.args.map(({ key, values }) => [key, ...values]);
}

describe('a trace file', () => {
  it('is a list of directives with input and expected output', () => {
    const directives = parse(
      '# A comment, and a blank line.',
      '',
      'simple',
      ' v1',
      '',
      'v2 ',
      '----',
      'one ',
      '  two',
      '',
      '  # Another one.',
      'stabilize 1',
      '----',
      'ok',
    );
    expect(directives).toEqual([
      { file: 'x.txt', line: 3, command: 'simple', args: [], input: 'v1\n\nv2', expected: 'one \n  two\n' },
      {
        file: 'x.txt',
        line: 12,
        command: 'stabilize',
        args: [{ key: '1', values: [] }],
        input: '',
        expected: 'ok\n',
      },
    ]);
  });

  it('may have line ends of Windows, and none at its end', () => {
    expect(parseTrace('x.txt', 'a\r\n----\r\nb\r\n\r\nc\r\n----\r\nd')).toMatchObject([
      { command: 'a', expected: 'b\n' },
      { command: 'c', line: 5, expected: 'd\n' },
    ]);
  });

  it('expects nothing where nothing follows', () => {
    expect(parse('a', '----', '', 'b', '----')).toMatchObject([{ expected: '' }, { expected: '' }]);
  });

  it('has directives that go on in the next line', () => {
    expect(parse('a b \\', '   c=(1, \\', ' 2)', 'input', '----', 'x')).toMatchObject([
      { line: 1, args: [{ key: 'b' }, { key: 'c', values: ['1', '2'] }], input: 'input', expected: 'x\n' },
    ]);
  });

  it('has blank lines in an output between doubled separators', () => {
    expect(parse('a', '----', '----', 'one', '', '----', 'two', '----', '----', '', 'b', '----', 'c')).toMatchObject([
      { expected: 'one\n\n----\ntwo\n' },
      { command: 'b', expected: 'c\n' },
    ]);
    expect(parse('a', '----', '----', 'one', '----', '----')).toMatchObject([{ expected: 'one\n' }]);
  });

  it('groups directives in subtests, which may be nested', () => {
    const directives = parse(
      ...['subtest one', '', 'a', '----', '', 'subtest one/two', 'b', '----', '', 'subtest end', 'c', '----', ''],
      ...['subtest end one', 'd', '----'],
    );
    expect(directives.map(({ command }) => command)).toEqual(['a', 'b', 'c', 'd']);
  });
});

describe('arguments', () => {
  it.each([
    ['a', []],
    ['a   b  c', [['b'], ['c']]],
    ['a b=', [['b', '']]],
    ['a b= c', [['b', ''], ['c']]],
    ['a b=c=d', [['b', 'c=d']]],
    ['a b="c d"', [['b', '"c'], ['d"']]],
    ['a b=()', [['b', '']]],
    ['a b=(1)c', [['b', '1'], ['c']]],
    ['a b=(1,2,  3 ,)  c', [['b', '1', '2', '3 ', ''], ['c']]],
    [
      'a b=(f(1, 2), (3)) c=d',
      [
        ['b', 'f(1, 2)', '(3)'],
        ['c', 'd'],
      ],
    ],
    [
      'a voters=(1) learners=(2)',
      [
        ['voters', '1'],
        ['learners', '2'],
      ],
    ],
  ])('of %s', (directive, expected) => {
    expect(args(directive)).toEqual(expected);
  });
});

describe('a malformed file', () => {
  it.each([
    ['an input without an end', ['', 'a', 'b', ''], 'x.txt:2: no ---- follows the directive'],
    ['a \\ in the last line', ['a', '----', '', 'b \\'], 'x.txt:4: the file ends after a \\'],
    ['an open parenthesis', ['a b=(1, (2)', '----'], 'x.txt:1: a parenthesis is not closed: (1, (2)'],
    ['a value without a name', ['a =b', '----'], 'x.txt:1: an argument without a name: =b'],
    ['an open doubled separator', ['a', '----', '----', 'b', '----'], 'x.txt:1: the doubled ---- is not closed'],
    [
      'more after a doubled separator',
      ['a', '----', '----', 'b', '----', '----', 'c'],
      'x.txt:7: a blank line has to follow the doubled ----',
    ],
    ['an open subtest', ['subtest a', 'b', '----'], 'x.txt:1: subtest a has no end'],
    ['an end too many', ['subtest end'], 'x.txt:1: subtest end without a subtest'],
    ['an end of another subtest', ['subtest a', 'subtest end b'], 'x.txt:2: subtest a is open, not b'],
    ['a subtest without a name', ['subtest'], 'x.txt:1: subtest needs one name'],
    ['a subtest with two names', ['subtest a b'], 'x.txt:1: subtest needs one name'],
  ])('names its line: %s', (_, lines, message) => {
    expect(() => parse(...lines)).toThrow(message);
  });
});
