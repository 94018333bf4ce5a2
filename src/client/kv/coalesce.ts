/**
 * Many single-key calls of one tick as one transaction.
 *
 * Most of the cost of a call is the call, not the key: 64 gets sent as one transaction
 * take about an eighth of the time of 64 gets.
 *
 * What changes for gets: all gets of a batch see one revision. They stay linearizable: the
 * transaction happens after each of them was called and before each of them resolves.
 * What changes for puts: those of a batch share one revision, one after another in it, and
 * stand or fall together: one that the server refuses (a lease that is gone) fails the
 * batch. That is why each kind is switched on by itself, and off by default.
 *
 * A call that its owner gives up before it was sent is left out; given up later it only
 * stops waiting, and the batch goes on.
 *
 * @module
 */

import {
  KV,
  type PutRequest,
  type PutResponse,
  type RangeResponse,
  type RequestOp,
} from '../../protocol/generated/etcdserverpb.ts';
import { NO_BYTES, toLatin1 } from '../../protocol/keys.ts';
import type { Init } from '../../protocol/wire.ts';
import { onAbort } from '../../support/signals.ts';
import { callerContext, sendForAll } from '../../telemetry/callers.ts';
import type { CallOptions } from '../call-options.ts';
import type { Caller } from '../connection/caller.ts';
import { abortError } from '../connection/failures.ts';
import { type Applied, type ErrorCode, EtcdError } from '../errors.ts';
import { wrongAnswer } from './txn.ts';

/** One call that waits to be sent with others. */
interface Pending<A> {
  readonly key: string;
  readonly op: Init<RequestOp>;
  readonly bytes: number;
  /** What was going on when it was called: the batch may be sent while something else is. */
  readonly caller: ReturnType<typeof callerContext>;
  readonly resolve: (answer: A) => void;
  readonly reject: (error: unknown) => void;
  state: 'waiting' | 'sent' | 'given-up';
}

function callersOf(batch: readonly Pending<never>[]): Pending<never>['caller'][] {
  return batch.map(({ caller }) => caller);
}

/** What is still wanted of a batch, from now on counted as sent. */
function take<A>(batch: readonly Pending<A>[]): readonly Pending<A>[] {
  const wanted = batch.filter(({ state }) => state === 'waiting');
  for (const pending of wanted) pending.state = 'sent';
  return wanted;
}

/** Under the server's limit of 1.5 MiB with room for the frame around each operation. */
const MAX_BATCH_BYTES = 1024 * 1024;
const OP_OVERHEAD_BYTES = 32;

/** Whether a call can share a batch: calls with wishes of their own go by themselves. */
export function canCoalesce({ timeoutMs, endpoint, requireLeader }: CallOptions): boolean {
  return timeoutMs === undefined && endpoint === undefined && requireLeader === undefined;
}

/** Collects what is called in one tick and hands it over in batches when the tick is over. */
class Batcher<A> {
  readonly #send: (batch: readonly Pending<A>[]) => void;
  readonly #maxOps: number;
  #waiting: Pending<A>[] = [];

  constructor(maxOps: number, send: (batch: readonly Pending<A>[]) => void) {
    this.#maxOps = maxOps;
    this.#send = send;
  }

  /** `applied` is what can be said of a call that was given up after it was sent. */
  add(key: string, op: Init<RequestOp>, bytes: number, applied: Applied, signal: AbortSignal | undefined): Promise<A> {
    if (signal?.aborted) return Promise.reject(abortError(signal));
    return new Promise<A>((resolve, reject) => {
      const off = onAbort(signal, () => {
        reject(abortError(signal as AbortSignal, { applied: pending.state === 'sent' ? applied : 'no' }));
        pending.state = 'given-up';
      });
      const pending: Pending<A> = {
        key,
        op,
        bytes,
        caller: callerContext(),
        resolve: (answer) => {
          off();
          resolve(answer);
        },
        reject: (error) => {
          off();
          reject(error);
        },
        state: 'waiting',
      };
      // After the microtasks: those that a finished batch wakes all get to call again first.
      if (this.#waiting.length === 0) process.nextTick(() => this.#flush());
      this.#waiting.push(pending);
    });
  }

  #flush(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    let start = 0;
    let bytes = 0;
    waiting.forEach((pending, index) => {
      bytes += pending.bytes + OP_OVERHEAD_BYTES;
      if (index - start < this.#maxOps && (bytes <= MAX_BATCH_BYTES || index === start)) return;
      this.#send(waiting.slice(start, index));
      start = index;
      bytes = pending.bytes + OP_OVERHEAD_BYTES;
    });
    this.#send(waiting.slice(start));
  }
}

/** Refusals of a batch that need not be those of each call in it: one key that the user may not read, or sheer size. */
const OF_THE_WHOLE: ReadonlySet<ErrorCode> = new Set([
  'permission-denied',
  'invalid-argument',
  'request-too-large',
  'response-too-large',
]);

/** Gets of one tick as one read-only transaction. */
export class GetCoalescer {
  readonly #caller: Caller;
  readonly #batcher: Batcher<RangeResponse>;

  constructor(caller: Caller, maxOps: number) {
    this.#caller = caller;
    this.#batcher = new Batcher(maxOps, (batch) => void this.#send(take(batch)));
  }

  get(key: Uint8Array, signal?: AbortSignal | undefined): Promise<RangeResponse> {
    return this.#batcher.add('', { requestRange: { key } }, key.length, 'no', signal);
  }

  async #send(batch: readonly Pending<RangeResponse>[]): Promise<void> {
    const { clock, timeoutMs } = this.#caller;
    const deadlineAt = clock.now() + timeoutMs;
    if (batch.length <= 1) return this.#each(batch, timeoutMs);
    try {
      const request = { success: batch.map(({ op }) => op) };
      const answer = await sendForAll(callersOf(batch), (links) =>
        this.#caller.unary(KV.txn, request, { kind: 'read', links }),
      );
      batch.forEach(({ resolve, reject }, index) => {
        const part = answer.responses[index]?.responseRange;
        if (part === undefined) reject(wrongAnswer('no'));
        else resolve(part);
      });
    } catch (error) {
      const leftMs = deadlineAt - clock.now();
      const each = error instanceof EtcdError && OF_THE_WHOLE.has(error.code) && leftMs > 0;
      if (each) return this.#each(batch, leftMs);
      for (const { reject } of batch) reject(error);
    }
  }

  /** Each for itself. */
  async #each(batch: readonly Pending<RangeResponse>[], timeoutMs: number): Promise<void> {
    const single = ({ op, caller, resolve, reject }: Pending<RangeResponse>): Promise<void> =>
      sendForAll([caller], () =>
        this.#caller.unary(KV.range, op.requestRange ?? {}, { kind: 'read' }, { timeoutMs }),
      ).then(resolve, reject);
    await Promise.all(batch.map(single));
  }
}

/** Puts of one tick as one transaction. */
export class PutCoalescer {
  readonly #caller: Caller;
  readonly #batcher: Batcher<PutResponse>;
  /** Keys in transactions under way: a second put of one must come after the first. */
  readonly #writing = new Map<string, Promise<void>>();

  constructor(caller: Caller, maxOps: number) {
    this.#caller = caller;
    this.#batcher = new Batcher(maxOps, (batch) => this.#schedule(batch));
  }

  put(request: Init<PutRequest>, signal?: AbortSignal | undefined): Promise<PutResponse> {
    const { key = NO_BYTES, value = NO_BYTES } = request;
    const op = { requestPut: request };
    return this.#batcher.add(toLatin1(key), op, key.length + value.length, 'maybe', signal);
  }

  /** Cuts a batch where a key comes again, and sends each part after those that write the same keys. */
  #schedule(batch: readonly Pending<PutResponse>[]): void {
    let part = new Map<string, Pending<PutResponse>>();
    for (const pending of batch) {
      if (part.has(pending.key)) {
        this.#sendAfterOthers([...part.values()]);
        part = new Map();
      }
      part.set(pending.key, pending);
    }
    this.#sendAfterOthers([...part.values()]);
  }

  #sendAfterOthers(batch: readonly Pending<PutResponse>[]): void {
    const before = new Set(batch.flatMap(({ key }) => this.#writing.get(key) ?? []));
    const sent = before.size === 0 ? this.#send(batch) : Promise.all(before).then(() => this.#send(batch));
    const done = sent.then(() => {
      for (const { key } of batch) if (this.#writing.get(key) === done) this.#writing.delete(key);
    });
    for (const { key } of batch) this.#writing.set(key, done);
  }

  /** Never rejects: those in the batch do. */
  async #send(waiting: readonly Pending<PutResponse>[]): Promise<void> {
    const batch = take(waiting);
    const [first] = batch;
    if (first === undefined) return;
    try {
      if (batch.length === 1) {
        const put = (): Promise<PutResponse> =>
          this.#caller.unary(KV.put, first.op.requestPut ?? {}, { kind: 'write' });
        first.resolve(await sendForAll([first.caller], put));
        return;
      }
      const request = { success: batch.map(({ op }) => op) };
      const { header, responses } = await sendForAll(callersOf(batch), (links) =>
        this.#caller.unary(KV.txn, request, { kind: 'write', links }),
      );
      batch.forEach(({ resolve, reject }, index) => {
        const part = responses[index]?.responsePut;
        if (part === undefined) reject(wrongAnswer('maybe'));
        else resolve({ header, prevKv: part.prevKv });
      });
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  }
}
