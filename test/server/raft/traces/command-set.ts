/**
 * What a set of commands is to the runner.
 *
 * @module
 */
import type { Directive } from './format.ts';

export interface TraceOptions {
  /** For election timeouts: no trace may depend on it. */
  readonly seed: number;
}

/** Commands that work on one state. */
export interface CommandSet {
  readonly commands: ReadonlySet<string>;
  /** Starts with a fresh state; the function runs one directive after the other and gives their outputs. */
  start(options: TraceOptions): (directive: Directive) => string;
}

/** What a command answers when it fails. It belongs to the output: traces expect it. */
export class CommandError extends Error {
  override name = 'CommandError';
}
