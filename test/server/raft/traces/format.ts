/**
 * Reads trace files: the format of Go's `datadriven` package, in which etcd's raft library keeps its traces.
 *
 * A file is a list of directives. Each is a line (a command with arguments), lines of input, a line `----`, and the
 * expected output, which ends at the first blank line or, if it is between doubled `----` lines, may contain some.
 * `#` begins a comment line; a directive that ends with `\` goes on in the next line; `subtest NAME` and `subtest end`
 * group directives and change nothing else. What is malformed is a {@link TraceError} with file and line.
 *
 * Source: the format as its documentation describes it, github.com/cockroachdb/datadriven v1.0.2.
 *
 * @module
 */

/** `key`, `key=value` or `key=(a, b)`. */
export interface Argument {
  readonly key: string;
  /** Empty for a bare `key`; one empty text for `key=`. Quotes are part of a value. */
  readonly values: readonly string[];
}

export interface Directive {
  readonly file: string;
  /** Line of the command, from 1 on. */
  readonly line: number;
  readonly command: string;
  readonly args: readonly Argument[];
  /** Lines between the command and `----`, trimmed as one text. */
  readonly input: string;
  /** With a line end after each line. */
  readonly expected: string;
}

/** A trace that can not be read, or asks for what can not be done. */
export class TraceError extends Error {
  override name = 'TraceError';

  constructor({ file, line }: Pick<Directive, 'file' | 'line'>, text: string) {
    super(`${file}:${line}: ${text}`);
  }
}

const SEPARATOR = '----';

/** The directives of a file, in their order. Those in subtests stand among the others. */
export function parseTrace(file: string, text: string): readonly Directive[] {
  return new Parser(file, text).parse();
}

class Parser {
  readonly #file: string;
  readonly #lines: readonly string[];
  #at = 0;
  /** Subtests that are open, the innermost last. */
  readonly #subtests: { readonly name: string; readonly line: number }[] = [];

  constructor(file: string, text: string) {
    this.#file = file;
    const lines = text.split(/\r?\n/);
    // The line end of the last line begins no other one.
    this.#lines = lines.at(-1) === '' ? lines.slice(0, -1) : lines;
  }

  parse(): readonly Directive[] {
    const directives: Directive[] = [];
    for (let text = this.#next(); text !== undefined; text = this.#next()) {
      const trimmed = text.trim();
      if (trimmed === '' || trimmed.startsWith('#')) continue;
      const line = this.#at;
      const { command, args } = this.#command(this.#whole(trimmed), line);
      if (command === 'subtest') this.#subtest(args, line);
      else {
        const input = this.#input(line);
        directives.push({ file: this.#file, line, command, args, input, expected: this.#expected(line) });
      }
    }
    const open = this.#subtests.at(-1);
    if (open) this.#fail(open.line, `subtest ${open.name} has no end`);
    return directives;
  }

  #next(): string | undefined {
    const line = this.#lines[this.#at];
    if (line !== undefined) this.#at += 1;
    return line;
  }

  #fail(line: number, text: string): never {
    throw new TraceError({ file: this.#file, line }, text);
  }

  /** A directive with the lines that go on with it. */
  #whole(first: string): string {
    let whole = first;
    while (whole.endsWith('\\')) {
      const more = this.#next();
      if (more === undefined) this.#fail(this.#at, 'the file ends after a \\');
      whole = `${whole.slice(0, -1)} ${more.trim()}`;
    }
    return whole;
  }

  #command(whole: string, line: number): { readonly command: string; readonly args: readonly Argument[] } {
    const [command = ''] = whole.split(/\s/, 1);
    const args: Argument[] = [];
    for (let rest = whole.slice(command.length).trim(); rest !== ''; rest = rest.trim()) {
      const [key = ''] = rest.split(/[ =]/, 1);
      if (key === '') this.#fail(line, `an argument without a name: ${rest}`);
      rest = rest.slice(key.length);
      if (!rest.startsWith('=')) args.push({ key, values: [] });
      else if (rest.startsWith('=(')) {
        const { values, length } = this.#list(rest.slice(2), line);
        args.push({ key, values });
        rest = rest.slice(2 + length);
      } else {
        const [value = ''] = rest.slice(1).split(' ', 1);
        args.push({ key, values: [value] });
        rest = rest.slice(1 + value.length);
      }
    }
    return { command, args };
  }

  /** What stands between parentheses, cut at its own commas; `length` includes the closing one. */
  #list(text: string, line: number): { readonly values: readonly string[]; readonly length: number } {
    const values: string[] = [];
    let depth = 1;
    let start = 0;
    for (let at = 0; at < text.length; at += 1) {
      const char = text[at];
      if (char === '(') depth += 1;
      else if (char === ')') depth -= 1;
      if (depth === 0) return { values: [...values, text.slice(start, at)], length: at + 1 };
      if (char !== ',' || depth > 1) continue;
      values.push(text.slice(start, at));
      while (text[at + 1] === ' ') at += 1;
      start = at + 1;
    }
    return this.#fail(line, `a parenthesis is not closed: (${text}`);
  }

  #subtest(args: readonly Argument[], line: number): void {
    const [name, ended, ...more] = args.map(({ key }) => key);
    if (name === undefined || more.length > 0 || (ended !== undefined && name !== 'end')) {
      this.#fail(line, 'subtest needs one name');
    }
    if (name !== 'end') {
      this.#subtests.push({ name, line });
      return;
    }
    const open = this.#subtests.pop();
    if (!open) this.#fail(line, 'subtest end without a subtest');
    if (ended !== undefined && ended !== open.name) this.#fail(line, `subtest ${open.name} is open, not ${ended}`);
  }

  #input(line: number): string {
    const input: string[] = [];
    for (let text = this.#next(); text !== SEPARATOR; text = this.#next()) {
      if (text === undefined) this.#fail(line, `no ${SEPARATOR} follows the directive`);
      input.push(text);
    }
    return input.join('\n').trim();
  }

  #expected(line: number): string {
    const expected: string[] = [];
    let text = this.#next();
    if (text === SEPARATOR) return this.#expectedWithBlanks(line);
    for (; text !== undefined && text.trim() !== ''; text = this.#next()) expected.push(`${text}\n`);
    return expected.join('');
  }

  #expectedWithBlanks(line: number): string {
    const expected: string[] = [];
    for (let text = this.#next(); ; text = this.#next()) {
      if (text === undefined) this.#fail(line, `the doubled ${SEPARATOR} is not closed`);
      if (text === SEPARATOR && this.#lines[this.#at] === SEPARATOR) break;
      expected.push(`${text}\n`);
    }
    this.#next();
    const after = this.#next();
    if (after !== undefined && after.trim() !== '')
      this.#fail(this.#at, `a blank line has to follow the doubled ${SEPARATOR}`);
    return expected.join('');
  }
}
