/** A lessor and a model that is too simple to be wrong, through the same life on a virtual clock. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Lessor } from '../../../src/server/lease/lessor.ts';
import { KvStore } from '../../../src/server/mvcc/store.ts';
import { ALL, commit, put } from '../mvcc/support.ts';

const MIN_TTL = 2;
const RETRY_MS = 7_000;
const CHECKPOINT_MS = 20_000;

interface ModelLease {
  ttl: number;
  remaining: number;
  endsAt: number;
  toldAt: number | undefined;
}

/** Leases in a map, everything found by looking at all of them. */
class Model {
  readonly leases = new Map<bigint, ModelLease>();
  primary = false;

  promote(now: number, extendMs: number): void {
    this.primary = true;
    for (const lease of this.leases.values()) {
      lease.endsAt = now + extendMs + (lease.remaining || lease.ttl) * 1_000;
      lease.toldAt = undefined;
    }
  }

  expired(now: number, limit: number): bigint[] {
    if (!this.primary) return [];
    const at = ({ endsAt, toldAt }: ModelLease): number => (toldAt === undefined ? endsAt : toldAt + RETRY_MS);
    const due = [...this.leases].filter(([, lease]) => at(lease) <= now);
    due.sort(([a, left], [b, right]) => at(left) - at(right) || Number(a - b));
    const told = due.slice(0, limit);
    for (const [, lease] of told) lease.toldAt = now;
    return told.map(([id]) => id);
  }
}

const id = fc.bigInt({ min: -4n, max: 8n });
/** Mostly short, so that many end; some long enough for checkpoints. */
const ttl = fc.oneof({ weight: 3, arbitrary: fc.bigInt({ min: -1n, max: 9n }) }, fc.bigInt({ min: 20n, max: 90n }));
const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('grant' as const), id, ttl }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('revoke' as const), id }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('renew' as const), id }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.nat(9_000) }) },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('scan' as const),
      limit: fc.integer({ min: 1, max: 3 }),
      end: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('checkpoint' as const) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('promote' as const), ms: fc.nat(3_000) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('demote' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('restart' as const) }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

class Pair {
  lessor = new Lessor({ minTtlSeconds: MIN_TTL, retryMs: RETRY_MS, checkpointMs: CHECKPOINT_MS });
  readonly model = new Model();
  now = 1_000;
  ended = 0;

  run(step: Step): void {
    const { model, lessor } = this;
    switch (step.do) {
      case 'grant': {
        const ttl = Math.max(Number(step.ttl), MIN_TTL);
        const error = step.id === 0n ? 'lease-not-found' : model.leases.has(step.id) ? 'lease-exists' : undefined;
        expect(lessor.grant(step.id, step.ttl, this.now)).toEqual(error ?? { id: step.id, ttlSeconds: ttl });
        if (error) return;
        model.leases.set(step.id, { ttl, remaining: 0, endsAt: this.now + ttl * 1_000, toldAt: undefined });
        return;
      }
      case 'revoke':
        return this.#revoke(step.id);
      case 'renew':
        return this.#renew(step.id);
      case 'wait':
        this.now += step.ms;
        return;
      case 'scan': {
        const found = model.expired(this.now, step.limit);
        expect(lessor.expired(this.now, step.limit)).toEqual(found);
        this.ended += found.length;
        if (step.end) for (const one of found) this.#revoke(one);
        return;
      }
      case 'checkpoint':
        return this.#checkpoint();
      case 'promote':
        model.promote(this.now, step.ms);
        return lessor.promote(this.now, step.ms);
      case 'demote':
        model.primary = false;
        return lessor.demote();
      case 'restart': {
        const rows = lessor.rows();
        this.lessor = new Lessor({ minTtlSeconds: MIN_TTL, retryMs: RETRY_MS, checkpointMs: CHECKPOINT_MS });
        this.lessor.restore(rows, []);
        model.primary = false;
      }
    }
  }

  /** Everything that can be asked, as the model has it. */
  check(): void {
    const { model, lessor, now } = this;
    expect(lessor.size).toBe(model.leases.size);
    for (const [lease, { ttl, endsAt }] of model.leases) {
      const left = Math.trunc((endsAt - now) / 1_000);
      expect(lessor.timeToLive(lease, now)).toEqual(
        model.primary ? { grantedSeconds: ttl, remainingSeconds: Math.max(left, -1) + 0 } : 'not-primary',
      );
    }
    expect(lessor.rows().map((row) => [row.ID, Number(row.TTL), Number(row.RemainingTTL)])).toEqual(
      [...model.leases]
        .sort(([a], [b]) => (BigInt.asUintN(64, a) < BigInt.asUintN(64, b) ? -1 : 1))
        .map(([lease, { ttl, remaining }]) => [lease, ttl, remaining]),
    );
  }

  #revoke(lease: bigint): void {
    expect(this.lessor.revoke(lease)).toEqual(this.model.leases.delete(lease) ? [] : 'lease-not-found');
  }

  #renew(id: bigint): void {
    const lease = this.model.leases.get(id);
    const answer = this.lessor.renew(id, this.now);
    if (!this.model.primary) expect(answer).toBe('not-primary');
    else if (!lease) expect(answer).toBe('lease-not-found');
    else if (lease.endsAt <= this.now) expect(answer).toBe('expired');
    else {
      expect(answer).toMatchObject({ ttlSeconds: lease.ttl });
      const { checkpoint } = answer as { checkpoint: { ID: bigint; remainingTTL: bigint } | undefined };
      if (lease.remaining > 0) expect(checkpoint).toBeDefined();
      if (checkpoint) this.lessor.checkpoint(checkpoint);
      Object.assign(lease, { remaining: 0, endsAt: this.now + lease.ttl * 1_000, toldAt: undefined });
    }
  }

  #checkpoint(): void {
    for (const checkpoint of this.lessor.dueCheckpoints(this.now)) {
      const lease = this.model.leases.get(checkpoint.ID)!;
      const left = Number(checkpoint.remainingTTL);
      // Never less than what is left: the next primary counts from it.
      expect(left * 1_000).toBeGreaterThanOrEqual(lease.endsAt - this.now);
      expect(left).toBeLessThan(lease.ttl);
      lease.remaining = left;
      this.lessor.checkpoint(checkpoint);
    }
  }
}

describe('a lessor', () => {
  it('does what a simple model does: nothing ends early, everything ends when it is looked for', () => {
    let ended = 0;
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120, size: 'max' }), (steps) => {
        const pair = new Pair();
        pair.run({ do: 'promote', ms: 0 });
        for (const step of steps) {
          pair.run(step);
          pair.check();
        }
        ended += pair.ended;
      }),
      { numRuns: 400, seed: 17 },
    );
    expect(ended).toBeGreaterThan(500);
  });

  it('knows exactly the keys that the store has hung on each lease, after a restart too', () => {
    const key = fc.constantFrom('a', 'b', 'c', 'd');
    const lease = fc.constantFrom(0n, 1n, 2n, 3n);
    const change = fc.oneof(
      { weight: 6, arbitrary: fc.record({ do: fc.constant('put' as const), key, lease }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant('delete' as const), key, lease }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('revoke' as const), key, lease }) },
    );
    fc.assert(
      fc.property(fc.array(fc.array(change, { maxLength: 3 }), { maxLength: 40, size: 'max' }), (txns) => {
        const lessor = new Lessor({ minTtlSeconds: MIN_TTL });
        const store = new KvStore(lessor);
        const alive = () => (store.range(ALL, 0, 0) as { records: readonly { key: string; lease: bigint }[] }).records;
        for (const one of [1n, 2n, 3n]) lessor.grant(one, 60n, 0);
        for (const changes of txns) {
          commit(store, (txn) => {
            for (const { do: what, key: name, lease: on } of changes) {
              if (what === 'put') put(txn, name, '', on);
              else if (what === 'delete') txn.deleteRange({ key: name, end: '' });
            }
          });
          for (const { do: what, lease: on } of changes) if (what === 'revoke' && on !== 0n) end(store, lessor, on);
          const restored = new Lessor({ minTtlSeconds: MIN_TTL });
          restored.restore(lessor.rows(), alive());
          for (const one of [1n, 2n, 3n]) {
            const hung = alive().filter((record) => record.lease === one);
            const expected = hung.map((record) => record.key);
            expect([...lessor.keysOf(one)].sort()).toEqual(expected);
            expect([...restored.keysOf(one)].sort()).toEqual(expected);
          }
        }
      }),
      { numRuns: 300, seed: 29 },
    );
  });

  it('tells of 100,000 leases that end together, each once, none early, 1000 a second', () => {
    const count = 100_000;
    const lessor = new Lessor({ minTtlSeconds: MIN_TTL });
    lessor.promote(0, 0);
    for (let id = 1; id <= count; id += 1) lessor.grant(BigInt(id), 10n, 0);
    for (let id = 1; id <= count; id += 1) lessor.renew(BigInt(id), 5_000);
    const seen = new Set<bigint>();
    let now = 0;
    for (; seen.size < count && now < 1_000_000; now += 500) {
      const found = lessor.expired(now);
      if (now < 15_000) expect(found).toEqual([]);
      for (const id of found) {
        seen.add(id);
        lessor.revoke(id);
      }
    }
    expect(seen.size).toBe(count);
    expect(now).toBe(15_000 + count);
    expect(lessor.size).toBe(0);
  });

  it('ends 100,000 leases of a lost primary within their time, the crowd and a scan', () => {
    const count = 100_000;
    const lessor = new Lessor({ minTtlSeconds: MIN_TTL });
    for (let id = 1; id <= count; id += 1) lessor.grant(BigInt(id), BigInt(2 + (id % 60)), 0);
    lessor.promote(0, 1_000);
    let left = count;
    for (let now = 0; left > 0; now += 500) {
      const found = lessor.expired(now);
      // At most 750 a second come due, so a scan of 500 each half second never falls behind.
      expect(found.length).toBeLessThan(500 + 1);
      for (const id of found) {
        expect(now).toBeGreaterThanOrEqual((2 + (Number(id) % 60) + 1) * 1_000);
        lessor.revoke(id);
      }
      left -= found.length;
      expect(now).toBeLessThan(1_000 + 62_000 + (count / 750) * 1_000 + 1_000);
    }
  });
});

/** Ends a lease as the log does. */
function end(store: KvStore, lessor: Lessor, id: bigint): void {
  const keys = lessor.revoke(id);
  if (typeof keys === 'string') return;
  const before = store.revision;
  const records = commit(store, (txn) => {
    for (const key of keys) txn.deleteRange({ key, end: '' });
  });
  expect(records.map((record) => record.key)).toEqual(keys);
  expect(store.revision).toBe(keys.length > 0 ? before + 1 : before);
  lessor.grant(id, 60n, 0);
}
