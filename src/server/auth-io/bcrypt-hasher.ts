/**
 * bcrypt in a thread of its own: a hash takes tens of milliseconds, in which the event loop would do nothing else.
 *
 * Invariants: one job is in the thread at a time, the others wait in line, and the line has an end: logins that nobody
 * can check any time soon are refused at once. Every job ends, by its result, its signal, {@link BcryptHasher.close} or
 * the thread's death; the next job after that gets a new thread. The thread holds the process only while it works.
 *
 * bcrypt looks at 72 bytes of a password and would ignore the rest, so longer ones are not hashed.
 *
 * @module
 */
import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';
import { GrpcCode } from '../../protocol/status.ts';
import { AuthError, AuthErrors } from '../auth/errors.ts';
import { isUsableHash, type PasswordHasher } from '../auth/passwords.ts';
import { BCRYPT_WORKER, type BcryptAnswer, type BcryptJob } from './bcrypt-worker.ts';

/** What a password that is too long is refused with: etcd's text, which reaches its clients unmapped. */
export const PASSWORD_TOO_LONG: AuthError = new AuthError(
  'InvalidAuthManagement',
  'bcrypt: password length exceeds 72 bytes',
  GrpcCode.UNKNOWN,
);

const MAX_PASSWORD_BYTES = 72;

export interface BcryptHasherOptions {
  /** The logarithm of the work for a new hash. Default: 10, as with etcd. */
  readonly cost?: number | undefined;
  /** How many jobs may wait, besides the one in work. Default: 64, some seconds' worth. */
  readonly maxWaiting?: number | undefined;
}

interface Waiting {
  readonly job: BcryptJob;
  readonly finish: (answer: BcryptAnswer | AuthError) => void;
}

export class BcryptHasher implements PasswordHasher {
  readonly cost: number;
  readonly #maxWaiting: number;
  readonly #line: Waiting[] = [];
  #current: Waiting | undefined;
  #worker: Worker | undefined;
  #closed = false;

  constructor({ cost = 10, maxWaiting = 64 }: BcryptHasherOptions = {}) {
    this.cost = cost;
    this.#maxWaiting = maxWaiting;
  }

  /** How many jobs wait for their turn. */
  get waiting(): number {
    return this.#line.length;
  }

  async hash(password: string, signal?: AbortSignal): Promise<string | AuthError> {
    if (Buffer.byteLength(password) > MAX_PASSWORD_BYTES) return PASSWORD_TOO_LONG;
    const answer = await this.#run({ type: 'hash', password, cost: this.cost }, signal);
    if (answer instanceof AuthError) return answer;
    return typeof answer === 'string' ? answer : AuthErrors.Stopped;
  }

  async verify(password: string, hash: string, signal?: AbortSignal): Promise<boolean | AuthError> {
    if (!isUsableHash(hash)) return false;
    const answer = await this.#run({ type: 'verify', password, hash }, signal);
    if (answer instanceof AuthError) return answer;
    return typeof answer === 'boolean' ? answer : AuthErrors.Stopped;
  }

  /** Ends the thread; jobs that are not done are answered with `Stopped`. */
  async close(): Promise<void> {
    this.#closed = true;
    const waiting = this.#line.splice(0);
    const worker = this.#worker;
    this.#lost(worker);
    for (const { finish } of waiting) finish(AuthErrors.Stopped);
    await worker?.terminate();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #run(job: BcryptJob, signal: AbortSignal | undefined): Promise<BcryptAnswer | AuthError> {
    if (this.#closed) return Promise.resolve(AuthErrors.Stopped);
    if (signal?.aborted) return Promise.resolve(AuthErrors.Canceled);
    if (this.#current && this.#line.length >= this.#maxWaiting) return Promise.resolve(AuthErrors.TooManyRequests);
    return new Promise((resolve) => {
      const onAbort = (): void => {
        // One that is in work goes on, but nobody waits for it.
        const place = this.#line.indexOf(waiting);
        if (place >= 0) this.#line.splice(place, 1);
        finish(AuthErrors.Canceled);
      };
      const finish = (answer: BcryptAnswer | AuthError): void => {
        signal?.removeEventListener('abort', onAbort);
        resolve(answer);
      };
      const waiting: Waiting = { job, finish };
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#line.push(waiting);
      this.#next();
    });
  }

  #next(): void {
    if (this.#current) return;
    const next = this.#line.shift();
    this.#current = next;
    if (!next) {
      this.#worker?.unref();
      return;
    }
    this.#worker ??= this.#start();
    this.#worker.ref();
    this.#worker.postMessage(next.job);
  }

  #start(): Worker {
    const bcrypt = createRequire(import.meta.url).resolve('bcryptjs');
    const worker = new Worker(BCRYPT_WORKER, { eval: true, workerData: bcrypt, name: 'etcdkit-bcrypt', execArgv: [] });
    worker.on('message', (answer: BcryptAnswer) => {
      if (this.#worker !== worker) return;
      const done = this.#current;
      this.#current = undefined;
      done?.finish(answer);
      this.#next();
    });
    // Why it died is of no use to who waits, and an 'error' that nobody hears would end the process.
    worker.on('error', () => this.#lost(worker));
    worker.on('exit', () => this.#lost(worker));
    return worker;
  }

  /** The thread is gone, and the job with it. */
  #lost(worker: Worker | undefined): void {
    if (!worker || this.#worker !== worker) return;
    this.#worker = undefined;
    const lost = this.#current;
    this.#current = undefined;
    lost?.finish(AuthErrors.Stopped);
    if (!this.#closed) this.#next();
  }
}
