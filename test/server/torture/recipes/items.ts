/**
 * Queues of items: each item that was put comes out once, and nothing comes out before what stands before it.
 *
 * An item is out of the queue before its consumer has it; so for each taking of which nobody knows one may be lost.
 */
import { UnknownOutcomeError } from '../../../../recipes/errors.ts';
import { DelayQueue } from '../../../../recipes/queue/delay-queue.ts';
import { PriorityQueue } from '../../../../recipes/queue/priority-queue.ts';
import { Queue } from '../../../../recipes/queue/queue.ts';
import type { Session } from '../../../../recipes/session.ts';
import type { Etcd } from '../../../../src/index.ts';
import type { KeyEvent } from '../../../recipes/await-point-history.ts';
import { attempt, type Field, many, rest, shifts, Work } from './work.ts';

/** An item as it comes out. */
interface Item {
  readonly value: string;
  readonly dueAt?: Date | undefined;
}

/** A kind of queue as its users have it. */
interface ItemQueue {
  enqueue(value: string, n: number): Promise<unknown>;
  dequeue(options: { readonly signal: AbortSignal }): Promise<Item>;
}

/** The kinds, by the folder that they keep their keys in. */
const QUEUES = {
  queue(session: Session, name: string): ItemQueue {
    const queue = new Queue(session, name);
    return { enqueue: (value) => queue.enqueue(value), dequeue: (options) => queue.dequeue(options) };
  },
  priority(session: Session, name: string): ItemQueue {
    const queue = new PriorityQueue(session, name);
    return {
      enqueue: (value, n) => queue.enqueue(value, { priority: n % 3 }),
      dequeue: (options) => queue.dequeue(options),
    };
  },
  delay(session: Session, name: string): ItemQueue {
    const queue = new DelayQueue(session, name, { wallClock: timeOfDay });
    return {
      enqueue: (value, n) => queue.enqueue(value, { delayMs: 10 + 40 * (n % 3) }),
      dequeue: (options) => queue.dequeue(options),
    };
  },
};

/** Nobody sets it back: an item that comes out before it is due comes too early. */
function timeOfDay(): number {
  return performance.timeOrigin + performance.now();
}

export class Queueing extends Work {
  readonly enqueued = new Set<string>();
  /** Those that are not in the queue, for certain. */
  readonly refused = new Set<string>();
  readonly taken: string[] = [];
  /** Takings of which nobody knows. */
  unknownTakes = 0;
  readonly #open: (session: Session, name: string) => ItemQueue;
  readonly #items: string;
  readonly #producers: number;

  constructor(kind: keyof typeof QUEUES, producers: number) {
    super(kind);
    this.#open = QUEUES[kind];
    this.#items = `${this.name}/${kind}/items/`;
    this.#producers = producers;
  }

  override users(field: Field): Promise<void>[] {
    return many(this.#producers, (i) => this.#produce(field, `p${i}`));
  }

  override followers(field: Field): Promise<void>[] {
    return many(2, () => this.#consume(field));
  }

  async #produce(field: Field, who: string): Promise<void> {
    let n = 0;
    await shifts(field, field.stop, (session) => {
      const queue = this.#open(session, this.name);
      return async () => {
        const value = `${who}-${n}`;
        n += 1;
        const error = await attempt(async () => {
          await queue.enqueue(value, n);
          this.enqueued.add(value);
        });
        if (error && !(error instanceof UnknownOutcomeError)) this.refused.add(value);
        if (error) throw error;
        await rest();
      };
    });
  }

  async #consume(field: Field): Promise<void> {
    const { drained: signal } = field;
    await shifts(field, signal, (session) => {
      const queue = this.#open(session, this.name);
      return async () => {
        const error = await attempt(async () => this.#took(await queue.dequeue({ signal })));
        if (error instanceof UnknownOutcomeError) this.unknownTakes += 1;
        if (error) throw error;
      };
    });
  }

  #took({ value, dueAt }: Item): void {
    this.taken.push(value);
    this.done += 1;
    if (dueAt !== undefined && dueAt.getTime() > timeOfDay()) this.wrong.push(`${this.name}: ${value} came too early`);
  }

  override async unsettled(etcd: Etcd): Promise<string | undefined> {
    const left = await etcd.count({ prefix: this.#items });
    return left === 0 ? undefined : `${left} items of ${this.name} are still there`;
  }

  override broken(events: readonly KeyEvent[]): string[] {
    const { name, taken, enqueued, refused, unknownTakes } = this;
    const found = this.#outOfOrder(events);
    const out = new Set(taken);
    if (out.size < taken.length) found.push(`${name} gave ${taken.length - out.size} items out twice`);
    for (const value of taken) if (refused.has(value)) found.push(`${name} gave out ${value}, which it had refused`);
    const missing = [...enqueued].filter((value) => !out.has(value));
    if (missing.length > unknownTakes)
      found.push(`${name} has lost ${missing}, and ${unknownTakes} takings are unknown`);
    return found;
  }

  /** In the history, what was taken was the first there was; and nothing is left. */
  #outOfOrder(events: readonly KeyEvent[]): string[] {
    const found: string[] = [];
    const there = new Set<string>();
    let out = 0;
    for (const { type, key, revision } of events) {
      if (!key.startsWith(this.#items)) continue;
      if (type === 'put') {
        there.add(key);
        continue;
      }
      out += 1;
      const [first] = [...there, key].sort();
      if (first !== key) found.push(`${this.name}: ${key} was taken at ${revision} before ${first}`);
      there.delete(key);
    }
    if (out < this.taken.length) found.push(`${this.name} gave ${this.taken.length} items out, and had ${out}`);
    if (there.size > 0) found.push(`${this.name} still has ${[...there]}`);
    return found;
  }
}
