/**
 * The output of one command, and the level from which on log lines are part of it.
 *
 * At level NONE nothing at all is kept, not even what a command prints itself.
 *
 * @module
 */

const LEVELS = ['DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL', 'NONE'] as const;
export type Level = (typeof LEVELS)[number];

export class Output {
  level: Level = 'DEBUG';
  #text = '';

  /** Whether nothing is kept. */
  get quiet(): boolean {
    return this.level === 'NONE';
  }

  write(text: string): void {
    if (!this.quiet) this.#text += text;
  }

  /** A line of the log, kept if the level allows. */
  log(level: Level, line: string): void {
    if (LEVELS.indexOf(level) >= LEVELS.indexOf(this.level)) this.write(`${level} ${line}\n`);
  }

  /** What `work` writes is indented, and gets a line end if it has none. */
  indented(work: () => void): void {
    const before = this.#text;
    this.#text = '';
    try {
      work();
    } finally {
      const lines = this.#text === '' ? [] : this.#text.replace(/\n$/, '').split('\n');
      this.#text = before + lines.map((line) => `  ${line}\n`).join('');
    }
  }

  /** All that was written since the last call. */
  take(): string {
    const text = this.#text;
    this.#text = '';
    return text;
  }
}

/** The level of that name, in any case; undefined if there is none. */
export function levelNamed(name: string): Level | undefined {
  return LEVELS.find((level) => level === name.toUpperCase());
}
