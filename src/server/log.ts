/**
 * What the server tells people, line by line.
 *
 * A line has a level, a fixed message and fields. None has a key's value, a password or a token. The server is silent
 * unless it is given a {@link ServerLog}; `cli/log-lines.ts` is the one of the executable.
 *
 * @module
 */

/** From the least to the most pressing. `panic` is never used here; etcd's flag has it. */
export const LOG_LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error', 'panic', 'fatal'];

/** How pressing a line is. */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'panic' | 'fatal';

/** What a line says besides its message. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Where lines go. Must not throw. */
export interface ServerLog {
  /**
   * Takes a line.
   *
   * @param caller The source file that speaks, below `src/server/`.
   */
  write(level: LogLevel, caller: string, message: string, fields?: LogFields): void;
}

/** Says nothing. */
export const silentLog: ServerLog = { write() {} };
