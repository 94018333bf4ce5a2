/**
 * Customers who ask the shop without a pause, and a count of who has answered.
 *
 * @module
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Dispatcher, fetch } from 'undici';
import type { ArticlePage } from './shop.ts';

const CUSTOMERS = 4;
/** Between two requests of a customer, so that there is time for something else on a small machine. */
const PAUSE_MS = 5;

/** See the head of this file. */
export class Load implements AsyncDisposable {
  readonly #dispatcher: Dispatcher;
  #answered = 0;
  #failed = 0;
  /** Answers of this chapter, by instance. */
  #by = new Map<string, number>();
  #over = false;
  #customers: Promise<unknown> = Promise.resolve();

  constructor(dispatcher: Dispatcher) {
    this.#dispatcher = dispatcher;
  }

  /** How many requests have failed so far. */
  get failed(): number {
    return this.#failed;
  }

  begin(): void {
    this.#customers = Promise.all(Array.from({ length: CUSTOMERS }, () => this.#ask()));
  }

  async #ask(): Promise<void> {
    while (!this.#over) {
      try {
        const answer = await fetch('http://shop/articles/lamp', { dispatcher: this.#dispatcher });
        const text = await answer.text();
        if (!answer.ok) throw new Error(`${answer.status}: ${text}`);
        const { answeredBy } = JSON.parse(text) as ArticlePage;
        for (const id of answeredBy) this.#by.set(id, (this.#by.get(id) ?? 0) + 1);
        this.#answered += 1;
      } catch (error) {
        this.#failed += 1;
        const cause = error instanceof Error && error.cause instanceof Error ? `: ${error.cause.message}` : '';
        console.log(`  failed: ${String(error)}${cause}`);
      }
      await sleep(PAUSE_MS);
    }
  }

  /** Resolves when so many more requests have been answered. */
  async answered(more: number): Promise<void> {
    const until = this.#answered + more;
    while (this.#answered < until) await sleep(PAUSE_MS);
  }

  /** Resolves when this instance has had a part in an answer of this chapter. */
  async answeredBy(id: string): Promise<void> {
    while (!this.#by.has(id)) await sleep(PAUSE_MS);
  }

  /** Does something while the load goes on, and tells who has answered meanwhile. */
  async chapter(title: string, work: () => Promise<void>): Promise<void> {
    const [answered, failed] = [this.#answered, this.#failed];
    this.#by = new Map();
    await work();
    const who = [...this.#by].sort(([a], [b]) => (a < b ? -1 : 1)).map(([id, count]) => `${id} ${count}`);
    console.log(`${title}: ${this.#answered - answered} answered, ${this.#failed - failed} failed`);
    console.log(`  ${who.join(', ')}`);
  }

  /** Resolves when every customer has had the last answer. */
  async end(): Promise<void> {
    this.#over = true;
    await this.#customers;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.end();
  }
}
