/**
 * What the commands that talk to a cluster share: how a command line is read, where output goes, and how one ends.
 *
 * Exit status: 0 it is done, 1 it is not, 2 with the usage for a command line that is none. What is asked for goes to
 * standard output and nothing else does, so that it can be piped; everything else goes to standard error. SIGINT,
 * SIGTERM and SIGHUP end a command in good order, with 128 and the signal's number unless the command says otherwise.
 *
 * @module
 */
import os from 'node:os';
import { type ParseArgsConfig, parseArgs, styleText } from 'node:util';
import { aligned } from './text.ts';

/** What the usage is printed for. */
export class UsageError extends Error {
  override name = 'UsageError';
}

/** Where output goes: a stream of the process, or what stands for it. */
export interface Sink {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  write(text: string | Uint8Array): unknown;
}

/** What a command is given. */
export interface CommandContext {
  readonly args: readonly string[];
  readonly environment: NodeJS.ProcessEnv;
  /** Default: those of the process. */
  readonly stdout?: Sink | undefined;
  readonly stderr?: Sink | undefined;
  /** What `-` reads. Default: standard input. */
  readonly stdin?: AsyncIterable<Uint8Array | string> | undefined;
  /** Ends the command when it fires, besides the signals of the process. Default: none. */
  readonly signal?: AbortSignal | undefined;
}

/** A command line that was read, and what to do with it. */
export interface Run {
  readonly environment: NodeJS.ProcessEnv;
  readonly stdout: Sink;
  readonly stderr: Sink;
  readonly stdin: AsyncIterable<Uint8Array | string>;
  /** Fires when the command is to end; its reason is the name of the signal, if it was one. */
  readonly signal: AbortSignal;
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Runs a command to its end, and says what is wrong.
 *
 * @param work Resolves to the exit status; to nothing when it has only ended because it was asked to.
 * @returns The exit status.
 */
export async function runCommand(
  { environment, stdout = process.stdout, stderr = process.stderr, stdin = process.stdin, signal }: CommandContext,
  usage: string,
  work: (run: Run) => Promise<number | undefined>,
): Promise<number> {
  const stop = new AbortController();
  let status: number | undefined;
  const listeners = SIGNALS.map((name) => {
    const listener = (): void => {
      status ??= 128 + (os.constants.signals[name] ?? 0);
      stop.abort(name);
    };
    // For good: a second one must not tear down what the first one is taking down in good order.
    process.on(name, listener);
    return () => process.off(name, listener);
  });
  // Whoever read the output has gone, as `head` does; without a listener that would end the process with a trace.
  const onBroken = (): void => {
    status ??= 128 + os.constants.signals.SIGPIPE;
    stop.abort();
  };
  if (stdout === process.stdout) process.stdout.on('error', onBroken);
  const onSignal = (): void => stop.abort();
  if (signal?.aborted) stop.abort();
  signal?.addEventListener('abort', onSignal, { once: true });
  try {
    const done = await work({ environment, stdout, stderr, stdin, signal: stop.signal });
    return done ?? status ?? 0;
  } catch (error) {
    if (error instanceof UsageError) {
      stderr.write(`${error.message}\n${usage}`);
      return 2;
    }
    if (stop.signal.aborted) return status ?? 1;
    stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  } finally {
    for (const off of listeners) off();
    process.stdout.off('error', onBroken);
    signal?.removeEventListener('abort', onSignal);
  }
}

/** Reads a command line. @throws UsageError */
export function readArgs<const Options extends NonNullable<ParseArgsConfig['options']>>(
  args: readonly string[],
  options: Options,
): ReturnType<typeof parseArgs<{ args: string[]; allowPositionals: true; options: Options }>> {
  try {
    return parseArgs({ args: [...args], allowPositionals: true, options });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

/** The words of a command line, of which there must be so many. @throws UsageError */
export function words(positionals: readonly string[], names: readonly string[], optional = 0): string[] {
  const missing = names.slice(0, names.length - optional).find((_, at) => positionals[at] === undefined);
  if (missing !== undefined) throw new UsageError(`${missing} is missing`);
  const extra = positionals[names.length];
  if (extra !== undefined) throw new UsageError(`what is "${extra}"?`);
  return [...positionals];
}

/** A flag's whole number. @throws UsageError */
export function wholeNumber(flag: string, text: string, least: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least) return value;
  throw new UsageError(`--${flag}: a whole number of at least ${least}`);
}

/** A flag's text that says a revision. @throws UsageError */
export function revisionNumber(flag: string, text: string): bigint {
  if (/^\d{1,18}$/.test(text)) return BigInt(text);
  throw new UsageError(`--${flag}: a revision, which is a whole number`);
}

/**
 * A table: the headings, then the rows.
 *
 * What comes from the store may hold anything: control characters, which a terminal would obey, are shown as such.
 */
export function table(out: Sink, headings: readonly string[], rows: readonly (readonly string[])[]): void {
  const lines = aligned([headings, ...rows].map((row) => row.map(visible)));
  for (const [at, line] of lines.entries()) out.write(`${at === 0 ? bold(out, line) : line}\n`);
}

function bold(out: Sink, text: string): string {
  const paints = out.isTTY === true && process.env['NO_COLOR'] === undefined;
  return paints ? styleText('bold', text, { validateStream: false }) : text;
}

/** A text without control characters. */
export function visible(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) => {
    const known = JSON.stringify(character).slice(1, -1);
    return known === character ? `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}` : known;
  });
}

/** Something as JSON; integers of 64 bits are texts, and bytes base64. */
export function printJson(out: Sink, value: unknown): void {
  out.write(`${jsonText(value, 2)}\n`);
}

/** {@link printJson}'s text. */
export function jsonText(value: unknown, indent?: number): string {
  return JSON.stringify(value, (_name, item: unknown) => (typeof item === 'bigint' ? String(item) : item), indent);
}
