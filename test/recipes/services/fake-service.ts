/** A discovery whose list a test sets, and which writes down what is picked and what came of it. */

import type { Outcome, PickOptions } from '../../../recipes/services/balance/balancer.ts';
import type { DiscoveredService, DiscoveryChange, Picked } from '../../../recipes/services/discovered.ts';
import { NoInstanceError } from '../../../recipes/services/errors.ts';
import { authorityOf, type ServiceInstance } from '../../../recipes/services/instance.ts';
import { revision } from '../../../src/index.ts';
import { instance } from './instances.ts';

/** An instance on this machine. */
export function instanceAt(id: string, port: number, more: Partial<ServiceInstance> = {}): ServiceInstance {
  return instance(id, { address: '127.0.0.1', port, ...more });
}

export class FakeService implements DiscoveredService<unknown> {
  readonly name: string;
  readonly ready: Promise<void>;
  instances: readonly ServiceInstance[] = [];
  readonly synced = true;
  readonly staleSince = undefined;
  readonly revision = revision(1);
  /** Each pick, in order, with what came of it. */
  readonly picks: { readonly id: string; readonly options: PickOptions; outcome: Outcome | undefined }[] = [];
  closed = false;
  #turn = 0;
  readonly #becomeReady: () => void;
  readonly #fail: (error: Error) => void;
  readonly #readers = new Set<() => void>();
  #version = 0;

  constructor(name = 'orders', instances?: readonly ServiceInstance[]) {
    this.name = name;
    const { promise, resolve, reject } = withResolvers();
    this.ready = promise;
    this.#becomeReady = resolve;
    this.#fail = reject;
    if (instances !== undefined) this.set(...instances);
  }

  get registered(): readonly ServiceInstance[] {
    return this.instances;
  }

  /** How many picks have not ended. */
  get underWay(): number {
    return this.picks.filter(({ outcome }) => outcome === undefined).length;
  }

  outcomes(id?: string): Outcome[] {
    return this.picks.flatMap((pick) => ((id ?? pick.id) === pick.id && pick.outcome ? [pick.outcome] : []));
  }

  /** The list is this from now on. */
  set(...instances: readonly ServiceInstance[]): void {
    this.instances = [...instances].sort((a, b) => (a.id < b.id ? -1 : 1));
    this.#version += 1;
    this.#becomeReady();
    for (const wake of this.#readers) wake();
  }

  /** There will never be a list. */
  fail(error: Error): void {
    this.#fail(error);
  }

  /** The news end, as when the client is closed. */
  end(): void {
    this.closed = true;
    for (const wake of this.#readers) wake();
  }

  changes(): AsyncIterableIterator<DiscoveryChange<unknown>> {
    let seen = this.#version;
    let left = false;
    let wake = (): void => {};
    const onChange = (): void => wake();
    this.#readers.add(onChange);
    const iterator: AsyncIterableIterator<DiscoveryChange<unknown>> = {
      next: async () => {
        while (seen === this.#version && !this.closed && !left) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
        seen = this.#version;
        if (this.closed || left) return { done: true, value: undefined };
        return { done: false, value: {} as DiscoveryChange<unknown> };
      },
      return: async () => {
        left = true;
        this.#readers.delete(onChange);
        wake();
        return { done: true, value: undefined };
      },
      [Symbol.asyncIterator]: () => iterator,
    };
    return iterator;
  }

  pick(options: PickOptions = {}): Picked<unknown> {
    const others = this.instances.filter(({ id }) => !options.avoid?.has(id));
    const from = others.length > 0 ? others : this.instances;
    this.#turn += 1;
    const chosen = from[this.#turn % from.length];
    if (chosen === undefined) throw new NoInstanceError(this.name, 'none-registered');
    const pick: FakeService['picks'][number] = { id: chosen.id, options, outcome: undefined };
    this.picks.push(pick);
    const done = (outcome: Outcome): void => {
      pick.outcome ??= outcome;
    };
    return { instance: chosen, authority: authorityOf(chosen), done, [Symbol.dispose]: () => done('cancelled') };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.end();
  }
}

function withResolvers(): { promise: Promise<void>; resolve: () => void; reject: (error: Error) => void } {
  let resolve = (): void => {};
  let reject = (_error: Error): void => {};
  const promise = new Promise<void>((onDone, onFail) => {
    resolve = onDone;
    reject = onFail;
  });
  promise.catch(() => {});
  return { promise, resolve, reject };
}
