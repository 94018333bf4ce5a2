/**
 * Reads a command line as Go's package `flag` does.
 *
 * `-name` and `--name` are the same. A value follows after `=` or as the next word; a flag of yes or no takes none but
 * after `=`. The last of several wins. The first word that is no flag ends them, as `--` does.
 *
 * @module
 */
import { UsageError } from './errors.ts';
import { FLAGS, type FlagName, flagNamed, Given } from './flags/index.ts';
import type { Flag } from './flags/kinds.ts';

/** A command line. */
export interface CommandLine {
  readonly given: Given;
  /** Somebody asked for help; nothing after that counts. */
  readonly help: boolean;
  /** What is left over behind the flags. */
  readonly rest: readonly string[];
}

/** @throws {@link UsageError} in Go's words. */
export function parseCommandLine(words: readonly string[]): CommandLine {
  const given = new Given();
  let at = 0;
  for (;;) {
    const word = words[at];
    if (word === undefined || word.length < 2 || !word.startsWith('-')) break;
    at++;
    if (word === '--') break;
    const [, name = '', , attached] = /^--?([^=]*)(=(.*))?$/s.exec(word) ?? [];
    if (name === '' || name.startsWith('-')) throw new UsageError(`bad flag syntax: ${word}`);
    const flag = flagNamed(name);
    if (flag === undefined) {
      if (name === 'help' || name === 'h') return { given, help: true, rest: [] };
      throw new UsageError(`flag provided but not defined: -${name}`);
    }
    if (attached !== undefined) set(given, flag, name, attached);
    else if (FLAGS[flag].bare) set(given, flag, name, 'true');
    else {
      const value = words[at++];
      if (value === undefined) throw new UsageError(`flag needs an argument: -${name}`);
      set(given, flag, name, value);
    }
  }
  return { given, help: false, rest: words.slice(at) };
}

function set(given: Given, flag: FlagName, name: string, text: string): void {
  const { bare, parse }: Flag = FLAGS[flag];
  try {
    given.set(flag, parse(text));
  } catch (error) {
    const what = bare ? `invalid boolean value "${text}" for` : `invalid value "${text}" for flag`;
    throw new UsageError(`${what} -${name}: ${(error as Error).message}`);
  }
}
