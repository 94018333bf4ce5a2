/**
 * How far something long is, on one line that is written over: for people at a terminal, and for nobody else.
 *
 * @module
 */

import type { Sink } from './command.ts';
import { sizeText } from './text.ts';

const BAR = 30;

/** See the head of this file. Writes only when the text has changed, so it can be told of every piece. */
export class Progress {
  readonly #out: Sink;
  readonly #what: string;
  #shown = '';

  /** `out`: standard error, so that what is piped stays clean. */
  constructor(out: Sink, what: string) {
    this.#out = out;
    this.#what = what;
  }

  /** So many bytes of so many are done. */
  at(bytes: number, totalBytes: number): void {
    if (this.#out.isTTY !== true) return;
    const share = totalBytes > 0 ? Math.min(bytes / totalBytes, 1) : 0;
    const full = Math.floor(share * BAR);
    const bar = `${'█'.repeat(full)}${'░'.repeat(BAR - full)}`;
    const percent = `${Math.floor(share * 100)}`.padStart(3);
    const text = `${this.#what} ${bar} ${percent} % of ${sizeText(totalBytes)}`;
    if (text === this.#shown) return;
    this.#shown = text;
    this.#out.write(`\r${text}\u001b[K`);
  }

  /** Takes the line away. */
  end(): void {
    if (this.#shown === '') return;
    this.#shown = '';
    this.#out.write('\r\u001b[K');
  }
}
