/**
 * A fleet of services through deploys, killed instances, compaction and outages, on virtual time, with requests all the
 * while. What is to hold at every step:
 *
 * 1. No request goes to an instance that has been gone for longer than its lease and one propagation, while another one
 *    lives. (While the store is away nobody can know who has gone; the count begins when it is back.)
 * 2. No instance that lives and was registered is missing from the list, whatever the store has been through.
 * 3. When all is quiet, the list is exactly those that live.
 */
import { expect, it } from 'vitest';
import type { Discovery } from '../../../../recipes/services/discovery/discovery.ts';
import type { Registration } from '../../../../recipes/services/registration/registration.ts';
import { ServiceRegistry } from '../../../../recipes/services/service-registry.ts';
import type { Etcd } from '../../../../src/index.ts';
import { bed } from './bed.ts';

const TTL_SECONDS = 5;
/** A server looks for leases that have ended twice a second, and ends them through its log. */
const PROPAGATION_MS = 1_500;
const STEP_MS = 200;

type Bed = Awaited<ReturnType<typeof bed>>;

interface Instance {
  readonly id: string;
  readonly service: string;
  readonly etcd: Etcd;
  readonly registration: Registration;
  /** Whether it has said that it goes. */
  leaves: boolean;
  /** When it died or ended, on the clock. */
  goneAt: number | undefined;
}

class Fleet {
  readonly on: Bed;
  readonly services: readonly string[];
  readonly instances: Instance[] = [];
  readonly views = new Map<string, Discovery>();
  /** When the store was last away. */
  awayAt = Number.NEGATIVE_INFINITY;
  away = false;
  someCutOff = false;
  readonly astray: string[] = [];
  readonly missing: string[] = [];
  /** The most suspects of a service that were seen. */
  suspected = 0;
  requests = 0;
  failed = 0;

  constructor(on: Bed, services: readonly string[]) {
    this.on = on;
    this.services = services;
  }

  async begin(service: string): Promise<void> {
    const etcd = this.on.cluster.client();
    const id = `${service}-${this.instances.length}`;
    const spec = { name: service, id, address: `${id}.example`, port: 80 };
    const starting = new ServiceRegistry(etcd).register(spec, { ttlSeconds: TTL_SECONDS });
    const registration = await this.on.clock.until(starting);
    this.instances.push({ id, service, etcd, registration, leaves: false, goneAt: undefined });
  }

  living(service?: string): Instance[] {
    return this.instances.filter((one) => one.goneAt === undefined && (service ?? one.service) === one.service);
  }

  /** As SIGKILL: nothing is said, and the lease is left to run out. */
  async kill(instance: Instance): Promise<void> {
    instance.goneAt = this.on.clock.now();
    await instance.etcd.close();
  }

  async drain(instance: Instance): Promise<void> {
    instance.leaves = true;
    const drained = instance.registration.drain({ propagationMs: 500 });
    await this.steps(800);
    instance.goneAt = this.on.clock.now();
    await this.on.clock.until(drained);
    await instance.etcd.close();
  }

  /** Lets a moment pass, sends a request to each service, and looks who is missing. */
  async step(): Promise<void> {
    const { clock } = this.on;
    await clock.advance(STEP_MS);
    if (this.away) this.awayAt = clock.now();
    for (const [service, view] of this.views) {
      const picked = view.pick();
      this.requests += 1;
      const target = this.instances.find(({ id }) => id === picked.instance.id);
      const { goneAt } = target ?? {};
      picked.done(goneAt === undefined ? 'success' : 'failure');
      if (goneAt !== undefined) {
        this.failed += 1;
        const goneMs = clock.now() - Math.max(goneAt, this.awayAt);
        if (goneMs > TTL_SECONDS * 1_000 + PROPAGATION_MS) this.astray.push(`${picked.instance.id} after ${goneMs} ms`);
      }
      const listed = new Set(view.instances.map(({ id }) => id));
      this.suspected = Math.max(this.suspected, view.suspects.size);
      for (const { id, leaves } of this.living(service)) {
        // Of those that are cut off the first few are believed dead, until others show that it is a mass.
        if (this.someCutOff && view.suspects.size === 0) continue;
        if (!listed.has(id) && !leaves) this.missing.push(`${id} at ${clock.now()}`);
      }
    }
  }

  async steps(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += STEP_MS) await this.step();
  }

  async outage(ms: number, meanwhile: () => Promise<void>): Promise<void> {
    this.away = true;
    await this.on.member.kill();
    await this.steps(ms / 2);
    await meanwhile();
    await this.steps(ms / 2);
    await this.on.member.restart();
    this.away = false;
    this.awayAt = this.on.clock.now();
  }

  /** Instances that cannot reach the store for a while; the others can. */
  async cutOff(instances: readonly Instance[], ms: number): Promise<void> {
    for (const { etcd } of instances) etcd.setEndpoints(['127.0.0.1:1']);
    this.someCutOff = true;
    await this.steps(ms);
    this.someCutOff = false;
    for (const { etcd } of instances) etcd.setEndpoints(this.on.cluster.endpoints);
  }

  listed(service: string): string[] {
    return this.views.get(service)?.registered.map(({ id }) => id) ?? [];
  }

  expectExact(): void {
    for (const service of this.services) {
      expect(this.listed(service)).toEqual(
        this.living(service)
          .map(({ id }) => id)
          .sort(),
      );
    }
  }
}

it('no request goes to the dead, and no living instance is missing', { timeout: 120_000 }, async () => {
  await using on = await bed({ protect: { graceMs: 15_000 } });
  const fleet = new Fleet(on, ['orders', 'users']);
  for (const service of fleet.services) {
    for (let count = 0; count < 4; count++) await fleet.begin(service);
    fleet.views.set(service, await on.clock.until(on.registry.discover(service, { ejection: false })));
  }
  fleet.expectExact();

  // A rolling deploy of one service, and a killed instance of the other.
  for (const old of fleet.living('orders')) {
    await fleet.begin('orders');
    await fleet.drain(old);
  }
  expect(fleet.failed).toBe(0);
  await fleet.kill(fleet.living('users')[0] as Instance);
  await fleet.steps(7_000);
  fleet.expectExact();

  // Compaction, and then an outage of more than a lease, in which one dies.
  await on.clock.until(on.writer.compact(await on.clock.until(on.writer.revision())));
  await fleet.outage(10_000, () => fleet.kill(fleet.living('orders')[0] as Instance));
  await fleet.steps(10_000);
  fleet.expectExact();

  // Most of a service at once.
  expect(fleet.suspected).toBe(0);
  for (const one of fleet.living('users').slice(0, 2)) await fleet.kill(one);
  await fleet.steps(24_000);
  expect(fleet.suspected).toBe(2);
  fleet.expectExact();

  // A whole service is cut off from the store for longer than its leases, and works all the while.
  const failedBefore = fleet.failed;
  await fleet.cutOff(fleet.living('orders'), 9_000);
  expect(fleet.suspected).toBe(3);
  await fleet.steps(15_000);
  fleet.expectExact();
  expect(fleet.failed).toBe(failedBefore);

  expect(fleet.astray).toEqual([]);
  expect(fleet.missing).toEqual([]);
  expect(fleet.requests).toBeGreaterThan(500);
});
