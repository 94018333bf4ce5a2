/**
 * One instance of a service, as a process of its own would be: a client, a registration, a candidate for the leadership, and
 * work under a lock that all instances share.
 *
 * @module
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Etcd } from 'etcdkit';
import { Election, type Leadership, Mutex, type Registration, ServiceRegistry, Session } from 'etcdkit/recipes';
import { say } from './screen.ts';

/** Where the instances meet. */
export interface Place {
  readonly endpoints: readonly string[];
  /** What all keys of this run begin with. */
  readonly prefix: string;
}

/** Seconds after which one that is silent counts as dead. */
export const TTL_SECONDS = 3;

/** See the head of this file. */
export class Instance {
  readonly id: string;
  /** What it has added under the lock, as far as it was told that it was written. */
  entries = 0;
  readonly #etcd: Etcd;
  readonly #session: Session;
  readonly #registration: Registration;
  readonly #mutex: Mutex;
  readonly #ledger: string;
  readonly #stop = new AbortController();
  readonly #leading: Promise<Leadership | undefined>;
  readonly #working: Promise<void>;
  #dying = false;
  #died: () => void = () => {};

  private constructor(id: string, { prefix }: Place, etcd: Etcd, session: Session, registration: Registration) {
    this.id = id;
    this.#etcd = etcd;
    this.#session = session;
    this.#registration = registration;
    this.#mutex = new Mutex(session, `${prefix}ledger-lock`);
    this.#ledger = `${prefix}ledger`;
    this.#leading = this.#lead(new Election(session, `${prefix}leader`));
    this.#working = this.#work();
    // A failure is told by whoever ends this instance.
    for (const task of [this.#leading, this.#working]) task.catch(() => {});
  }

  /** Starts one: registered, in line for the leadership, at work. */
  static async start(id: string, port: number, place: Place): Promise<Instance> {
    const etcd = new Etcd({ endpoints: place.endpoints });
    const registry = new ServiceRegistry(etcd, { prefix: `${place.prefix}services/` });
    const registration = await registry.register(
      { name: 'orders', id, address: '127.0.0.1', port },
      { ttlSeconds: TTL_SECONDS },
    );
    const session = await Session.open(etcd, { ttlSeconds: TTL_SECONDS, owner: id });
    return new Instance(id, place, etcd, session, registration);
  }

  /** Dies while it holds the lock: its connections end, and nobody is told. */
  async die(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#died = resolve;
      this.#dying = true;
    });
    this.#stop.abort();
    await this.#etcd.close();
    await Promise.allSettled([this.#leading, this.#working]);
  }

  /** Ends in good order: drained, nothing of it is left. */
  async end(): Promise<void> {
    this.#stop.abort();
    await Promise.all([this.#leading, this.#working]);
    await this.#registration.drain({ propagationMs: 0 });
    await this.#session.close();
    await this.#etcd.close();
  }

  async #lead(election: Election): Promise<Leadership | undefined> {
    try {
      return await election.campaign({ value: this.id, signal: this.#stop.signal });
    } catch (error) {
      if (this.#stop.signal.aborted) return undefined;
      throw error;
    }
  }

  /** Adds to a number under the lock, again and again: read, think, write. */
  async #work(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        const lock = await this.#mutex.acquire({ signal });
        if (this.#dying) {
          say(`${this.id} holds the lock, and dies without a word`);
          this.#died();
          return;
        }
        const before = Number((await this.#etcd.get(this.#ledger))?.value ?? 0);
        await sleep(5);
        await lock.guard({ then: [this.#etcd.op.put(this.#ledger, String(before + 1))] });
        this.entries += 1;
        await lock.release();
      } catch (error) {
        if (!signal.aborted) throw error;
      }
    }
  }
}
