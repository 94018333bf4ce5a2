/**
 * An instance that is registered, as its own program has it.
 *
 * Invariants:
 * 1. What is wished for is known here, in one place: the instance, with its status. Whatever has to be written again, after
 *    a deletion, a lost lease, an outage, is the latest of it.
 * 2. The status is `draining` once that was said, and else what the checks say.
 * 3. Deregistration is final. The loop that writes (reconciler.ts) has ended before the lease is revoked, and what of its
 *    requests is still on its way is refused with the lease.
 *
 * Round trips: register 2 (the lease, the record; the watch of the own key is made afterwards), update 1, deregister 2 (the
 * mark, and the lease's end with all its keys).
 *
 * @module
 */

import { type CallOptions, type Etcd, EtcdError, InvalidArgumentError } from '../../../src/index.ts';
import { detached, Life } from '../../../src/telemetry/recipes.ts';
import { mayPass } from '../../contender.ts';
import { systemWallClock } from '../../cron/wall-clock.ts';
import { LostError, WaitTimeoutError } from '../../errors.ts';
import { patiently } from '../../patience.ts';
import { expectMany, throwIfFired, type WaitOptions } from '../../waiting.ts';
import { InstanceIdTakenError } from '../errors.ts';
import type { InstanceStatus, Metadata, ServiceInstance } from '../instance.ts';
import type { ServiceLayout } from '../record.ts';
import { type CheckState, Checks } from './checks.ts';
import { atSignals, checkDrainOptions, type DrainOptions, waitForQuiet } from './drain.ts';
import { type InstancePatch, type InstanceSpec, patched, type RegisterOptions, toInstance } from './options.ts';
import { OwnRecord } from './own-record.ts';
import { Pulse, untilAny } from './pulse.ts';
import { Reconciler, type Wish } from './reconciler.ts';

/**
 * How a registration stands.
 *
 * - `waiting`: its checks have not all passed yet; nothing is in the store.
 * - `registering`: the store is not, or not certainly, as it is to be: the first time, after an update, or after a loss.
 * - `registered`: the store has what {@link Registration.instance} says.
 * - `taken`: another has the id. It comes back when that one goes.
 * - `draining`: it takes nothing new, and will end.
 * - `ended`: it was deregistered, or the client was closed, for good.
 */
export type RegistrationState = 'waiting' | 'registering' | 'registered' | 'taken' | 'draining' | 'ended';

type Progress = Exclude<RegistrationState, 'draining'>;

const DEFAULT_TTL_SECONDS = 15;
const DEFAULT_REJOIN_JITTER_MS = 1_000;
/** How long an ending waits for its mark to be in the store. When that is away, nobody hears of it anyhow. */
const MARK_MS = 1_000;

/**
 * An instance that is registered, as its own program has it: a wish that is kept until it is withdrawn, whatever becomes of
 * keys, leases and the cluster. Made by `ServiceRegistry.register`.
 */
export class Registration<M = Metadata> implements AsyncDisposable {
  readonly #etcd: Etcd;
  readonly #record: OwnRecord<M>;
  readonly #carriesStatus: boolean;
  readonly #checks: Checks;
  readonly #reconciler: Reconciler<M>;
  readonly #life: Life;
  readonly #stop = new AbortController();
  readonly #changed = new Pulse();
  /** Fires when a drain is not to take its time any more. */
  readonly #hurry = new AbortController();
  #instance: ServiceInstance<M>;
  #wish: Wish;
  /** The version of the wish that the store has had; 0 before the first. */
  #fulfilled = 0;
  #progress: Progress = 'waiting';
  #lastError: unknown;
  /** Whether the store was as it was to be, and then no more, by no doing of ours. */
  #lost = false;
  #running: Promise<unknown> = Promise.resolve();
  #takeOffSignals = (): void => {};
  #draining: Promise<void> | undefined;
  #ending: Promise<void> | undefined;

  private constructor(etcd: Etcd, layout: ServiceLayout<M>, spec: InstanceSpec<M>, options: RegisterOptions) {
    const { ttlSeconds = DEFAULT_TTL_SECONDS, rejoinJitterMs = DEFAULT_REJOIN_JITTER_MS } = options;
    const { wallClock = systemWallClock(etcd.clock).now } = options;
    for (const [name, value] of Object.entries({ ttlSeconds, timeoutMs: options.timeoutMs ?? 1 })) {
      if (!(value > 0)) throw new InvalidArgumentError(`${name} is not a positive number`);
    }
    if (!(rejoinJitterMs >= 0)) throw new InvalidArgumentError('rejoinJitterMs is not a number from 0 on');
    checkDrainOptions(options.drain ?? {});
    expectMany(this.#stop.signal);
    this.#etcd = etcd;
    this.#checks = new Checks(etcd.clock, options.checks ?? []);
    this.#carriesStatus = layout.carriesStatus;
    this.#instance = toInstance(spec, this.#checks.passing ? 'up' : 'down', Math.trunc(wallClock()));
    this.#life = new Life(etcd, { recipe: 'Registration', name: this.#instance.name });
    this.#record = new OwnRecord(layout, this.#instance.name, this.#instance.id, options.owner);
    this.#wish = this.#wishFor(this.#instance, 1);
    const registration = this;
    const wisher = {
      get wish(): Wish {
        return registration.#wish;
      },
      onFulfilled: (version: number) => this.#onFulfilled(version),
      onTrouble: (error: unknown) => this.#onTrouble(error),
    };
    this.#reconciler = new Reconciler(etcd, this.#record, wisher, { ttlSeconds, rejoinJitterMs });
  }

  /**
   * Registers an instance: resolves when it is in the store, for the first time. While the store cannot be reached it tries
   * on, until `timeoutMs` or `signal` ends the call.
   *
   * @throws InstanceIdTakenError when another has the id, with `whenTaken: 'wait'` after `timeoutMs`; WaitTimeoutError,
   * whose cause is what failed last; AbortError; InvalidArgumentError; EtcdError that another try does not mend, such as
   * `permission-denied`. Nothing is left in the store then, or it goes with its lease.
   * @internal
   */
  static async start<M>(
    etcd: Etcd,
    layout: ServiceLayout<M>,
    spec: InstanceSpec<M>,
    options: RegisterOptions = {},
  ): Promise<Registration<M>> {
    const { signal } = options;
    throwIfFired(signal);
    if (signal !== undefined) expectMany(signal);
    const registration = new Registration(etcd, layout, spec, options);
    // The loop is no part of the request that began it.
    registration.#running = detached(() => registration.#run(options.waitForReady ?? true));
    try {
      const { drainOn = [] } = options;
      registration.#takeOffSignals = atSignals(drainOn, async () => registration.drain(options.drain));
      await registration.#life.step('register', () => registration.#untilRegistered(options));
      return registration;
    } catch (error) {
      await patiently(etcd.clock, registration.deregister());
      throw error;
    }
  }

  /** The instance as it is to be in the store: the latest, which the store has when the state is `registered`. */
  get instance(): ServiceInstance<M> {
    return this.#instance;
  }

  /** Its key in the store. */
  get key(): string {
    return this.#record.key;
  }

  /** How it stands. */
  get state(): RegistrationState {
    if (this.#progress === 'ended') return 'ended';
    return this.#draining !== undefined || this.#ending !== undefined ? 'draining' : this.#progress;
  }

  /** Why the store is not as it is to be, as far as that is known; undefined when it is. */
  get lastError(): unknown {
    return this.#lastError;
  }

  /** How each of its checks stands. */
  get checks(): readonly CheckState[] {
    return this.#checks.states;
  }

  /** The state, now and whenever it has changed; a slow reader is told the latest. Ends after `ended`, or when the signal fires. */
  async *states(options: Pick<WaitOptions, 'signal'> = {}): AsyncGenerator<RegistrationState, void, void> {
    const { signal } = options;
    if (signal !== undefined) expectMany(signal);
    for (let told: RegistrationState | undefined; told !== 'ended' && !signal?.aborted; ) {
      const { next } = this.#changed;
      const { state } = this;
      if (state === told) {
        await untilAny(next, ...(signal === undefined ? [] : [signal]));
      } else {
        told = state;
        yield state;
      }
    }
  }

  /**
   * Changes what the instance says of itself: the fields that are given, or those that a function gives, from what they
   * were. Resolves when the store has them. When the wait ends sooner the change stands all the same, and is written as
   * soon as can be.
   *
   * @throws InvalidArgumentError, with nothing changed; WaitTimeoutError after `timeoutMs` (default: no limit); AbortError;
   * LostError when it is not registered any more.
   */
  async update(
    change: InstancePatch<M> | ((before: ServiceInstance<M>) => InstancePatch<M>),
    options: WaitOptions = {},
  ): Promise<void> {
    this.#assertOpen();
    const { instance } = this;
    this.#set(patched(instance, typeof change === 'function' ? change(instance) : change));
    const { version } = this.#wish;
    await this.#life.step('update', () => this.#untilFulfilled(version, options, 'the update of the instance'));
  }

  /**
   * Leaves without a request lost: says `draining`, gives the news time to spread, waits for what is in flight, and
   * deregisters. A second call gets the same answer. {@link Registration.deregister} cuts it short.
   *
   * @throws what {@link Registration.deregister} throws; InvalidArgumentError.
   */
  drain(options: DrainOptions = {}): Promise<void> {
    checkDrainOptions(options);
    this.#draining ??= this.#ending ?? this.#life.step('drain', () => this.#drain(options));
    return this.#draining;
  }

  /**
   * Ends the registration, for good: marks the record `draining`, so that readers know that it leaves by itself, and
   * revokes the lease, which deletes it. A second call gets the same answer.
   *
   * @throws EtcdError when that could not be confirmed; the record goes with its lease then.
   */
  deregister(options: CallOptions = {}): Promise<void> {
    this.#ending ??= this.#life.step('deregister', () => this.#end(options));
    return this.#ending;
  }

  /** Deregisters. Never rejects: what could not be told to the store goes with the lease. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.deregister().catch(() => {});
  }

  async #run(waitForReady: boolean): Promise<void> {
    const { signal } = this.#stop;
    const checking = this.#checks.run(signal, () => this.#onChecks());
    while (waitForReady && !this.#checks.passing && !signal.aborted) await untilAny(this.#changed.next, signal);
    if (!signal.aborted) this.#to('registering');
    await this.#reconciler.run(signal);
    // Without being told to, it ends with its client.
    if (!signal.aborted) {
      this.#takeOffSignals();
      this.#to('ended');
      this.#stop.abort();
    }
    await checking;
  }

  async #drain(options: DrainOptions): Promise<void> {
    await this.#mark();
    if (this.#fulfilled > 0) await waitForQuiet(this.#etcd.clock, options, this.#hurry.signal);
    await this.deregister();
  }

  /** Says `draining`, and waits for that to be in the store, for a while. */
  async #mark(): Promise<void> {
    // After the caller, so that the state shows it.
    await Promise.resolve();
    this.#changed.beat();
    if (this.#fulfilled === 0 || this.#progress === 'ended' || this.#progress === 'taken') return;
    if (this.#instance.status !== 'draining') this.#setStatus('draining');
    const marked = this.#untilFulfilled(this.#wish.version, { signal: this.#stop.signal }, 'the mark');
    await patiently(this.#etcd.clock, marked, MARK_MS);
  }

  async #end(options: CallOptions): Promise<void> {
    this.#hurry.abort();
    await this.#mark();
    this.#stop.abort();
    this.#takeOffSignals();
    await this.#running;
    try {
      await this.#reconciler.session?.lease.revoke(options);
    } catch (error) {
      this.#lastError = error;
      throw error;
    } finally {
      this.#to('ended');
    }
  }

  #onChecks(): void {
    this.#changed.beat();
    if (this.#instance.status !== 'draining') this.#setStatus(this.#checks.passing ? 'up' : 'down');
  }

  #onFulfilled(version: number): void {
    this.#fulfilled = version;
    this.#changed.beat();
    if (version < this.#wish.version) return;
    this.#lastError = undefined;
    if (this.#lost) this.#life.event('again');
    this.#lost = false;
    this.#to('registered');
  }

  #onTrouble(error: unknown): void {
    this.#lastError = error;
    if (this.#fulfilled > 0 && !this.#lost) {
      this.#lost = true;
      this.#life.event('lost');
    }
    this.#to(error instanceof InstanceIdTakenError ? 'taken' : 'registering');
  }

  #to(progress: Progress): void {
    this.#progress = progress;
    this.#changed.beat();
  }

  #setStatus(status: InstanceStatus): void {
    if (status !== this.#instance.status) this.#set({ ...this.#instance, status });
  }

  #set(instance: ServiceInstance<M>): void {
    this.#wish = this.#wishFor(instance, this.#wish.version + 1);
    this.#instance = instance;
    if (this.#progress === 'registered') this.#to('registering');
    this.#reconciler.wake();
  }

  #wishFor(instance: ServiceInstance<M>, version: number): Wish {
    const present = this.#carriesStatus || instance.status === 'up';
    return { value: this.#record.encode(instance), present, version };
  }

  async #untilRegistered(options: RegisterOptions): Promise<void> {
    const { whenTaken = 'refuse', timeoutMs } = options;
    const failed = (): unknown => {
      const error = this.#lastError;
      if (error === undefined) return undefined;
      if (error instanceof InstanceIdTakenError) return whenTaken === 'refuse' ? error : undefined;
      return mayPass(error) || isLeaseGone(error) ? undefined : error;
    };
    try {
      await this.#untilFulfilled(1, { ...options, timeoutMs }, 'the registration', failed);
    } catch (error) {
      const last = this.#lastError;
      throw error instanceof WaitTimeoutError && last instanceof InstanceIdTakenError ? last : error;
    }
  }

  /** Waits until the store has had a version of the wish, or it is told that this fails. */
  async #untilFulfilled(
    version: number,
    { signal, timeoutMs }: WaitOptions,
    what: string,
    failed: () => unknown = () => undefined,
  ): Promise<void> {
    const { clock } = this.#etcd;
    if (signal !== undefined) expectMany(signal);
    const timeout = new AbortController();
    const timer = timeoutMs === undefined ? undefined : clock.after(timeoutMs, () => timeout.abort());
    try {
      for (;;) {
        const { next } = this.#changed;
        if (this.#fulfilled >= version) return;
        const error = failed();
        if (error !== undefined) throw error;
        this.#assertOpen();
        throwIfFired(signal);
        if (timeout.signal.aborted) throw new WaitTimeoutError(what, timeoutMs ?? 0, { cause: this.#lastError });
        await untilAny(next, timeout.signal, ...(signal === undefined ? [] : [signal]));
      }
    } finally {
      timer?.cancel();
    }
  }

  #assertOpen(): void {
    if (this.#progress === 'ended') throw new LostError(`the registration of ${this.#instance.name}`, 'released');
  }
}

/** A lease that was lost, even before its grant was answered, is no reason to stop trying: there will be another. */
function isLeaseGone(error: unknown): boolean {
  return error instanceof EtcdError && (error.code === 'lease-lost' || error.code === 'lease-not-found');
}
