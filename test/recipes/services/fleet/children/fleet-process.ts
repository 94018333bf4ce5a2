/**
 * One process of a fleet: instances of many services, and requests to all of them.
 *
 * An instance is a registration; there is nothing behind its address. A request is a pick, which says nothing of what came
 * of it: so only what the store says keeps the dead out. Round robin makes sure that whoever is in a list is picked soon.
 * Registrations and discoveries have clients of their own, so that the way of the latter can be cut.
 */
import { createInterface } from 'node:readline';
import type { Discovery } from '../../../../../recipes/services/discovery/discovery.ts';
import type { Registration, RegistrationState } from '../../../../../recipes/services/registration/registration.ts';
import { ServiceRegistry } from '../../../../../recipes/services/service-registry.ts';
import { Etcd } from '../../../../../src/index.ts';
import { machineMs, type Order, onStall, type Plan, type Word } from '../words.ts';

const FLUSH_EVERY = 5;

const plan = JSON.parse(process.argv[2] ?? '') as Plan;
const { label, prefix, ttlSeconds, drainMs, pickEveryMs } = plan;
const registering = new ServiceRegistry(new Etcd({ endpoints: [plan.store] }), { prefix });
const discovering = new ServiceRegistry(new Etcd({ endpoints: [plan.window] }), { prefix });

let frozen = false;

function say(word: Word): void {
  if (!frozen) process.stdout.write(`${JSON.stringify(word)}\n`);
}

/** Those of this process, by service, the oldest first. */
const mine = new Map<string, { readonly id: string; readonly registration: Registration }[]>();
let begun = 0;

async function begin(service: string): Promise<void> {
  const id = `${label}-${service}-${begun++}`;
  say({ say: 'began', at: machineMs(), id, service });
  const registration = await registering.register({ name: service, id, address: id, port: 80 }, { ttlSeconds });
  say({ say: 'ready', at: machineMs(), id, service });
  void tellLosses(registration);
  const others = mine.get(service);
  if (others === undefined) mine.set(service, [{ id, registration }]);
  else others.push({ id, registration });
}

async function tellLosses(registration: Registration): Promise<void> {
  let before: RegistrationState = 'registered';
  for await (const state of registration.states()) {
    const why = (registration.lastError as Error | undefined)?.message ?? 'unknown';
    if (before === 'registered' && state === 'registering') say({ say: 'lost', at: machineMs(), why });
    before = state;
  }
}

async function drainOldest(service: string): Promise<void> {
  const oldest = mine.get(service)?.shift();
  if (oldest === undefined) return;
  const { id, registration } = oldest;
  say({ say: 'drains', at: machineMs(), id, service });
  // Without the store it goes all the same, and its record with the lease.
  await registration.drain({ propagationMs: drainMs }).catch(() => {});
  say({ say: 'gone', at: machineMs(), id, service });
}

async function deploy(): Promise<void> {
  await Promise.all(
    [...mine.keys()].map(async (service) => {
      await begin(service);
      await drainOldest(service);
    }),
  );
  say({ say: 'deployed', at: machineMs() });
}

/** Tells how what a discovery lists differs from what it listed before. */
class View {
  readonly discovery: Discovery;
  #seen: readonly { readonly id: string }[] = [];

  constructor(discovery: Discovery) {
    this.discovery = discovery;
  }

  look(): void {
    const { instances } = this.discovery;
    if (instances === this.#seen) return;
    const before = new Set(this.#seen.map(({ id }) => id));
    const now = new Set(instances.map(({ id }) => id));
    this.#seen = instances;
    const listed = [...now].filter((id) => !before.has(id));
    const dropped = [...before].filter((id) => !now.has(id));
    if (listed.length + dropped.length > 0) say({ say: 'saw', at: machineMs(), listed, dropped });
  }

  async keepLooking(): Promise<void> {
    for await (const _change of this.discovery.changes()) this.look();
  }
}

const views = Object.keys(plan.services).map((service) => {
  const discovery = discovering.follow(service, { balance: 'round-robin', ejection: false });
  return new View(discovery);
});

let following = false;
const lastPicks = new Map<string, number>();
let picks = 0;

function tick(count: number): void {
  for (const view of views) {
    view.look();
    if (view.discovery.instances.length === 0) continue;
    using picked = view.discovery.pick();
    picks += 1;
    lastPicks.set(picked.instance.id, machineMs());
  }
  if (count % FLUSH_EVERY === 0) flush();
  const follows = views.every(({ discovery }) => discovery.staleSince === undefined);
  if (follows === following) return;
  following = follows;
  say({ say: follows ? 'following' : 'behind', at: machineMs() });
}

function flush(): void {
  say({ say: 'picked', count: picks, last: [...lastPicks] });
  lastPicks.clear();
  picks = 0;
}

createInterface({ input: process.stdin }).on('line', (line) => {
  if ((line as Order) === 'deploy') return void deploy();
  flush();
  say({ say: 'frozen', at: machineMs() });
  frozen = true;
});

// From the beginning: who registers hundreds of instances at once is busiest before the first request.
onStall((ms) => say({ say: 'stalled', at: machineMs(), ms }));
for (const view of views) void view.keepLooking();
const registered = Object.entries(plan.services).flatMap(([service, count]) =>
  Array.from({ length: count }, () => begin(service)),
);
await Promise.all([...registered, ...views.map(({ discovery }) => discovery.ready)]);
for (const view of views) view.look();
say({ say: 'awake', at: machineMs() });
let count = 0;
setInterval(() => tick(++count), pickEveryMs);
