/**
 * Histories of a store that is right, or is wrong once in a way that has a name.
 *
 * Clients call, the store does what they ask for at some moment before the answer, and answers get lost; what was given
 * up may still be done later. With a fault the history may be wrong; whether it is, since it may not show, is for others
 * to say.
 */
import type { Random } from '../../simulation/world/random.ts';
import { differenceOf } from '../describe.ts';
import type { Answered, LogEntry, Operation, Request, Response, Result } from '../history.ts';
import { evaluate } from '../kv-model.ts';
import type { HeldState } from '../versions.ts';
import { kv, op, startState } from './build.ts';

export const FAULTS = [
  'stale-read',
  'stale-content',
  'lost-write',
  'applied-twice',
  'answered-too-soon',
  'wrong-prev-kv',
  'wrong-revision',
  'wrong-value',
  'wrong-branch',
  'phantom-key',
  'failed-but-applied',
  'session-back',
] as const;

export type StoreFault = (typeof FAULTS)[number];

export interface StoryOptions {
  readonly clients: number;
  readonly operations: number;
  readonly keys: number;
  /** How likely it is that an answer gets lost. */
  readonly unknownChance: number;
  /** At most so many get lost. Default: any number. */
  readonly maxUnknown?: number | undefined;
  readonly fault?: StoreFault | undefined;
  /** How likely a fitting operation is to be struck, as long as none was. Default: 0.7. */
  readonly faultChance?: number | undefined;
  /** Whether all requests are of one key each. Default: false. */
  readonly singleKeys?: boolean | undefined;
}

export interface Story {
  readonly operations: readonly Operation[];
  readonly log: readonly LogEntry[];
}

/** What a client has under way. */
interface Pending {
  readonly client: string;
  readonly id: number;
  readonly request: Request;
  readonly calledAt: number;
  response?: Response;
  session?: string;
}

/** Makes one history. */
export function makeStory(random: Random, options: StoryOptions): Story {
  return new Storyteller(random, options).run();
}

class Storyteller {
  readonly #random: Random;
  readonly #options: StoryOptions;
  readonly #states: HeldState[] = [startState()];
  readonly #log: LogEntry[] = [];
  readonly #operations: Operation[] = [];
  readonly #pending = new Map<string, Pending>();
  /** Given up, and not done yet. */
  readonly #orphans: Pending[] = [];
  /** By session the revision it has. */
  readonly #sessions = new Map<string, number>();
  /** Answered before it is done. */
  #late: { readonly pending: Pending; readonly returnedAt: number; stepsLeft: number } | undefined;
  #time = 0;
  #unknown = 0;
  #struck = false;

  constructor(random: Random, options: StoryOptions) {
    this.#random = random;
    this.#options = options;
  }

  run(): Story {
    const { operations, clients } = this.#options;
    for (let called = 0; called < operations || this.#pending.size > 0 || this.#late; ) {
      this.#time += 1;
      this.#doLate();
      if (this.#orphans.length > 0 && this.#random.chance(0.2)) this.#do(this.#orphans.shift() as Pending);
      if (this.#random.chance(0.02)) this.#expire();
      const client = `c${this.#random.below(clients)}`;
      const pending = this.#pending.get(client);
      if (pending !== undefined) this.#continue(pending);
      else if (called < operations) {
        this.#pending.set(client, { client, id: called, request: this.#request(called), calledAt: this.#time });
        called += 1;
      }
    }
    return { operations: this.#operations, log: this.#log };
  }

  get #state(): HeldState {
    return this.#states.at(-1) as HeldState;
  }

  #continue(pending: Pending): void {
    const { client, id, request, calledAt, response } = pending;
    const { unknownChance, maxUnknown = Infinity } = this.#options;
    const called = { id, client, calledAt, request };
    const lost = this.#unknown < maxUnknown && this.#random.chance(unknownChance);
    if (response === undefined && !lost) {
      if (this.#fits('answered-too-soon', request.kind !== 'range') && this.#strike()) {
        this.#pending.delete(client);
        this.#late = { pending, returnedAt: this.#time, stepsLeft: 4 };
        return;
      }
      this.#do(pending);
      return;
    }
    this.#pending.delete(client);
    if (lost) {
      this.#unknown += 1;
      this.#operations.push({ ...called, status: 'unknown' });
      if (response === undefined && this.#random.chance(0.6)) this.#orphans.push(pending);
    } else if (this.#fits('failed-but-applied', request.kind !== 'range') && this.#strike())
      this.#operations.push({ ...called, status: 'failed' });
    else {
      const answered: Answered = {
        ...called,
        session: pending.session,
        status: 'ok',
        returnedAt: this.#time,
        response: response as Response,
      };
      this.#operations.push(this.#distort(answered));
    }
  }

  #doLate(): void {
    const late = this.#late;
    if (late === undefined) return;
    late.stepsLeft -= 1;
    if (late.stepsLeft > 0) return;
    this.#late = undefined;
    const { pending, returnedAt } = late;
    const { client, id, request, calledAt } = pending;
    const response = this.#apply(request);
    this.#operations.push({ client, id, request, calledAt, status: 'ok', returnedAt, response });
  }

  #fits(fault: StoreFault, fitting: boolean): boolean {
    return this.#options.fault === fault && fitting;
  }

  /** Whether it goes wrong now: once. */
  #strike(): boolean {
    if (this.#struck || !this.#random.chance(this.#options.faultChance ?? 0.7)) return false;
    this.#struck = true;
    return true;
  }

  /** The store does it. */
  #do(pending: Pending): void {
    const { request } = pending;
    const session = `m${this.#random.below(2)}`;
    pending.session = session;
    const reads = request.kind === 'range';
    if (reads && request.serializable) {
      pending.response = this.#readStale(session, request);
      return;
    }
    if (this.#fits('stale-read', reads) && this.#strike()) {
      pending.response = evaluate(this.#otherState(request), request).response;
      delete pending.session;
      return;
    }
    if (this.#fits('stale-content', reads) && this.#strike()) {
      const { result } = evaluate(this.#otherState(request), request).response;
      pending.response = { revision: this.#state.revision, result };
      return;
    }
    if (this.#fits('phantom-key', true) && this.#strike()) this.#apply({ kind: 'put', key: 'a', value: 'phantom' });
    if (this.#fits('lost-write', !reads) && this.#strike()) {
      pending.response = evaluate(this.#state, request).response;
      return;
    }
    pending.response = this.#apply(request);
    this.#sessions.set(session, this.#state.revision);
    if (this.#fits('applied-twice', !reads) && this.#strike()) this.#orphans.push({ ...pending });
  }

  /** A state of before, one that shows if there is any. */
  #otherState(request: Request): HeldState {
    const now = evaluate(this.#state, request).response.result;
    const others = this.#states.filter((state) => differenceOf(now, evaluate(state, request).response.result));
    return this.#random.pick(others.length > 0 ? others : this.#states);
  }

  #readStale(session: string, request: Request): Response {
    const known = this.#sessions.get(session) ?? 1;
    const back = this.#fits('session-back', known > 1) && this.#strike();
    const revision = back ? known - 1 : this.#random.between(known, this.#state.revision);
    this.#sessions.set(session, Math.max(revision, known));
    return evaluate(this.#states[revision - 1] as HeldState, request).response;
  }

  #apply(request: Request): Response {
    const { response, events } = evaluate(this.#state, request);
    if (events.length > 0) {
      const entry = { revision: response.revision, events };
      this.#log.push(entry);
      this.#states.push(this.#state.after(entry));
    }
    return response;
  }

  #expire(): void {
    const leased = [...this.#state.kvs.values()].filter(({ lease }) => lease !== 0n);
    if (leased.length > 0) this.#apply({ kind: 'revoke', lease: this.#random.pick(leased).lease });
  }

  #request(id: number): Request {
    const { keys, singleKeys = false } = this.#options;
    const random = this.#random;
    const key = String.fromCharCode(97 + random.below(keys));
    const kind = random.below(singleKeys ? 12 : 16);
    // Few different values, so that orders can be mistaken for each other.
    const value = random.chance(0.5) ? `v${id}` : 'same';
    if (kind < 4) return { kind: 'range', key, serializable: random.chance(0.3) };
    if (kind < 7) return op(`${key}=${value}`);
    if (kind < 9) return op(`-${key}`);
    if (kind < 12) {
      const operand = random.pick([...this.#states.map((state) => state.get(key)?.modRevision ?? 0), 0]);
      const compares = [{ target: 'modRevision', result: '=', operand, key } as const];
      return { kind: 'txn', compares, success: [op(`${key}=${value}`)], failure: [op(`${key}?`)] };
    }
    if (kind === 12) return { ...op('[a,z)?'), kind: 'range', key: 'a', end: 'z', limit: random.below(3) };
    if (kind === 13) return op('-[a,c)');
    if (kind === 14) return op(`${key}=${value}@7`);
    return { kind: 'revoke', lease: 7n };
  }

  #distort(one: Answered): Answered {
    const { response } = one;
    const revised = (result: Result): Answered => ({ ...one, response: { ...response, result } });
    const { result } = response;
    if (this.#fits('wrong-revision', true) && this.#strike())
      return { ...one, response: { ...response, revision: response.revision + this.#random.pick([-1, 1]) } };
    if (result.kind === 'put' && this.#fits('wrong-prev-kv', true) && this.#strike())
      return revised({ kind: 'put', prevKv: result.prevKv ? undefined : kv('a', 'same', 2) });
    const [first, ...others] = result.kind === 'range' ? result.kvs : [];
    if (result.kind === 'range' && this.#fits('wrong-value', first !== undefined) && first && this.#strike())
      return revised({ ...result, kvs: [{ ...first, value: first.value === 'same' ? 'other' : 'same' }, ...others] });
    if (result.kind === 'txn' && one.request.kind === 'txn' && this.#fits('wrong-branch', true) && this.#strike()) {
      const other: Request = { ...one.request, compares: [] };
      const swapped = evaluate(this.#state, { ...other, success: result.succeeded ? other.failure : other.success });
      return revised({ ...(swapped.response.result as typeof result), succeeded: !result.succeeded });
    }
    return one;
  }
}
