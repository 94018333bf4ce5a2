/**
 * Log lines as etcd writes them: one JSON object each, with `level`, `ts`, `caller` and `msg` first.
 *
 * Lines are written at once and in order, so that the last one is there however the process ends.
 *
 * @module
 */
import { LOG_LEVELS, type LogFields, type LogLevel, type ServerLog } from '../log.ts';

export interface LogLinesOptions {
  /** What is less pressing is left out. */
  readonly level: LogLevel;
  /** `console` is for reading: fields with tabs between. */
  readonly format: 'json' | 'console';
  /** The time of day, in ms since 1970. */
  readonly timeOfDay: () => number;
  /** Take a line with its end. Must not throw. */
  readonly outputs: readonly ((line: string) => void)[];
}

export class LogLines implements ServerLog {
  readonly #options: LogLinesOptions;
  readonly #least: number;

  constructor(options: LogLinesOptions) {
    this.#options = options;
    this.#least = LOG_LEVELS.indexOf(options.level);
  }

  write(level: LogLevel, caller: string, message: string, fields: LogFields = {}): void {
    if (LOG_LEVELS.indexOf(level) < this.#least) return;
    const { format, timeOfDay, outputs } = this.#options;
    const ts = new Date(timeOfDay()).toISOString();
    const line =
      format === 'json'
        ? toJson({ level, ts, caller, msg: message, ...fields })
        : [ts, level.toUpperCase(), caller, message, toJson(fields)].join('\t');
    for (const output of outputs) output(`${line}\n`);
  }
}

/** Of errors only what they say: a stack may hold what must stay secret. */
function toJson(fields: LogFields): string {
  return JSON.stringify(fields, (_, value: unknown) => {
    if (typeof value === 'bigint') return value.toString(16);
    return value instanceof Error ? value.message : value;
  });
}
