/**
 * The registry of services: an instance that is registered is discovered in the end, and one that was deregistered, or
 * has died, is not; nothing of one that was deregistered is written afterwards.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Discovery } from '../../../../recipes/services/discovery/discovery.ts';
import type { Registration } from '../../../../recipes/services/registration/registration.ts';
import { ServiceRegistry } from '../../../../recipes/services/service-registry.ts';
import type { Etcd } from '../../../../src/index.ts';
import type { KeyEvent } from '../../../recipes/await-point-history.ts';
import { lastPart } from './revisions.ts';
import { attempt, clientOf, type Field, fired, KEYS, many, rest, Work } from './work.ts';

const SERVICE = 'orders';
/** Is registered until the end. */
const STAYER = 'stayer';
const PREFIX = `${KEYS}services/`;
/** Those who die are to be gone soon; the others come back when a fault was longer. */
const TTL_SECONDS = 4;
/** Of so many instances one dies. */
const MORTAL = 3;
const POLL_MS = 20;
const FIRST_PORT = 8_000;
const PORTS = 50_000;

export class Serving extends Work {
  #discovery: Discovery | undefined;
  #registered = 0;

  constructor() {
    super('services');
  }

  override users(field: Field): Promise<void>[] {
    return many(3, (i) => this.#serve(field, i));
  }

  override followers(field: Field): Promise<void>[] {
    return [this.#lookOn(field), this.#stay(field)];
  }

  /** Registers, is discovered, leaves or dies, and is discovered no more. */
  async #serve(field: Field, user: number): Promise<void> {
    const { stop } = field;
    for (let n = 1; !stop.aborted; n += 1) {
      const id = `${user}-${n}`;
      await attempt(async () => {
        // A program of its own, which can die.
        await using etcd = clientOf(field);
        const instance = await this.#register(etcd, id, stop);
        await until(() => this.#sees(id), stop);
        await instance.update({ weight: 2 }, { signal: stop });
        // Who dies says nothing: its client goes, and its lease runs out.
        if (n % MORTAL === 0) return;
        await instance.deregister();
        await etcd.put(`${this.name}-gone/${id}`, '');
      });
      await until(() => !this.#sees(id), stop);
      if (!stop.aborted) this.done += 1;
      await rest();
    }
  }

  async #stay(field: Field): Promise<void> {
    while (!field.drained.aborted)
      await attempt(async () => {
        await using _instance = await this.#register(field.nextClient(), STAYER, field.drained);
        await fired(field.drained);
      });
  }

  async #lookOn(field: Field): Promise<void> {
    // Those that are not believed gone are soon.
    const registry = new ServiceRegistry(field.nextClient(), { prefix: PREFIX, protect: { graceMs: 1_000 } });
    await using discovery = registry.follow(SERVICE);
    this.#discovery = discovery;
    await fired(field.drained);
  }

  #register(etcd: Etcd, id: string, signal: AbortSignal): Promise<Registration> {
    this.#registered += 1;
    // Of two with one address the later is believed to be the other, started anew.
    const port = FIRST_PORT + (this.#registered % PORTS);
    return new ServiceRegistry(etcd, { prefix: PREFIX }).register(
      { name: SERVICE, id, address: '10.0.0.7', port },
      { ttlSeconds: TTL_SECONDS, rejoinJitterMs: POLL_MS, signal, whenTaken: 'wait' },
    );
  }

  #sees(id: string): boolean {
    return this.#discovery?.instances.some((instance) => instance.id === id) ?? false;
  }

  override async unsettled(etcd: Etcd): Promise<string | undefined> {
    const seen = this.#discovery?.instances.map(({ id }) => id) ?? [];
    const { kvs } = await etcd.range({ prefix: `${PREFIX}${SERVICE}/` }, { keysOnly: true });
    const there = kvs.map(({ key }) => lastPart(key));
    if (there.join() === STAYER && seen.join() === STAYER) return undefined;
    return `registered as ${SERVICE} are ${there}, and seen are ${seen}`;
  }

  override broken(events: readonly KeyEvent[]): string[] {
    const found: string[] = [];
    const [there, gone] = [new Set<string>(), new Set<string>()];
    for (const { type, key, revision } of events) {
      const id = lastPart(key);
      if (key.startsWith(`${this.name}-gone/`)) {
        gone.add(id);
        if (there.has(id)) found.push(`${this.name}: ${id} was deregistered and is there at ${revision}`);
      } else if (key.startsWith(`${PREFIX}${SERVICE}/`)) {
        if (type === 'delete') there.delete(id);
        else there.add(id);
        if (type === 'put' && gone.has(id))
          found.push(`${this.name}: ${id} was deregistered and is written at ${revision}`);
      }
    }
    return found;
  }
}

/** Resolves when it holds, or the signal has fired. */
async function until(holds: () => boolean, signal: AbortSignal): Promise<void> {
  while (!signal.aborted && !holds()) await sleep(POLL_MS);
}
