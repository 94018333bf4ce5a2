/**
 * Replays traces: runs the commands of a file on the core and compares each output with the expected one.
 *
 * Which set of commands a file needs is told by its first command; a command that its set lacks is a malformed file.
 * The first difference ends a file, as everything after it follows from another state.
 *
 * @module
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { CommandSet, TraceOptions } from './command-set.ts';
import { confchangeCommands } from './confchange.ts';
import { type Directive, parseTrace, TraceError } from './format.ts';
import { interactionCommands } from './interaction/commands.ts';
import { normalise } from './normalise.ts';
import { quorumCommands } from './quorum.ts';

const SETS: readonly CommandSet[] = [interactionCommands, confchangeCommands, quorumCommands];

/** Equal lines that are shown before a difference. */
const CONTEXT = 5;

export interface TraceResult {
  /** Directives that gave what was expected. */
  readonly passed: number;
  /** What was different, or wrong with the file, for people; undefined if nothing. */
  readonly failure: string | undefined;
}

/** Every `.txt` below a directory, by name. */
export function traceFiles(directory: string): readonly string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.txt'))
    .map((name) => join(directory, name))
    .filter((file) => statSync(file).isFile())
    .sort();
}

/** Replays a file. One that can not be read, or is not UTF-8, fails. */
export function runTraceFile(file: string, options: TraceOptions): TraceResult {
  let content: string;
  try {
    content = new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(file));
  } catch (cause) {
    return { passed: 0, failure: `${file}: ${messageOf(cause)}` };
  }
  return runTrace(file, content, options);
}

/** Replays a trace. `file` is for messages only. */
export function runTrace(file: string, content: string, options: TraceOptions): TraceResult {
  let passed = 0;
  try {
    const directives = parseTrace(file, content);
    const run = commandSet(file, directives).start(options);
    for (const directive of directives) {
      const actual = output(run, directive);
      const failure = difference(directive, actual);
      if (failure !== undefined) return { passed, failure };
      passed += 1;
    }
    return { passed, failure: undefined };
  } catch (cause) {
    if (cause instanceof TraceError) return { passed, failure: cause.message };
    throw cause;
  }
}

function commandSet(file: string, directives: readonly Directive[]): CommandSet {
  const [first] = directives;
  if (first === undefined) throw new TraceError({ file, line: 1 }, 'the file has no command');
  const set = SETS.find(({ commands }) => commands.has(first.command));
  const unknown = directives.find(({ command }) => !set?.commands.has(command));
  if (set && !unknown) return set;
  throw new TraceError(unknown ?? first, `unknown command ${(unknown ?? first).command}`);
}

/** Runs a directive. What the core throws is a failure of the trace: a rule of the protocol is broken. */
function output(run: (directive: Directive) => string, directive: Directive): string {
  try {
    return run(directive);
  } catch (cause) {
    if (cause instanceof TraceError) throw cause;
    throw new TraceError(directive, `${directive.command} failed: ${messageOf(cause)}`);
  }
}

function difference(directive: Directive, output: string): string | undefined {
  const { file, line, command } = directive;
  const expected = normalise(directive.expected);
  const actual = normalise(output);
  let same = 0;
  while (same < expected.length && expected[same] === actual[same]) same += 1;
  if (same === expected.length && same === actual.length) return undefined;
  const lines = (from: readonly string[], mark: string): string[] => from.slice(same).map((text) => `${mark} ${text}`);
  return [
    `${file}:${line}: ${command} gives another output`,
    ...expected.slice(Math.max(0, same - CONTEXT), same).map((text) => `  ${text}`),
    ...lines(expected, '-'),
    ...lines(actual, '+'),
  ].join('\n');
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
