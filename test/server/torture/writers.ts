/** The load: many clients that write whatever there is to write, each one request after the other. */
import { Auth, KV, Lease } from '../../../src/protocol/generated/etcdserverpb.ts';
import { GrpcCode } from '../../../src/protocol/status.ts';
import type { Dice } from './dice.ts';
import type { Asked, Ledger } from './ledger.ts';
import { type WireClient, WireFailure } from './wire-client.ts';

const bytes = (text: string): Buffer => Buffer.from(text);

/** What outlives keys. Each is either certain, or may be there. */
export class Certainty<T> {
  readonly certain = new Set<T>();
  readonly possible = new Set<T>();

  /** What was found is what there is. @returns What is wrong, if anything is. */
  resolve(found: ReadonlySet<T>): string | undefined {
    for (const one of this.certain) if (!found.has(one)) return `${one} is lost`;
    for (const one of found) if (!this.certain.has(one) && !this.possible.has(one)) return `${one} was never made`;
    this.certain.clear();
    for (const one of found) this.certain.add(one);
    this.possible.clear();
    return undefined;
  }
}

/** What the writers know. */
export interface World {
  readonly ledger: Ledger;
  readonly leases: Certainty<bigint>;
  readonly users: Certainty<string>;
  /** Revisions that a compaction was asked for: the last that was acknowledged, and the last of all. */
  compacted: { acknowledged: number; asked: number };
  /** What all watchers have got. */
  readonly compactable: () => number;
  /** Writes that were acknowledged. */
  acknowledged: number;
  /** Numbers of operations: each value is written once. */
  next: number;
}

const KEYS = 40;
const DELETABLE = 20;
/** Longer than any run. */
const TTL_SECONDS = 100_000n;

/** Writes until the connection is lost. */
export class Writer {
  readonly #world: World;
  readonly #client: WireClient;
  readonly #dice: Dice;

  constructor(world: World, client: WireClient, dice: Dice) {
    this.#world = world;
    this.#client = client;
    this.#dice = dice;
  }

  /** @throws if the server refuses what it should take. */
  async run(): Promise<void> {
    for (;;) {
      try {
        await this.#write();
      } catch (error) {
        if (error instanceof WireFailure && error.code === undefined) return;
        throw error;
      }
      this.#world.acknowledged += 1;
    }
  }

  #write(): Promise<void> {
    const roll = this.#dice.below(100);
    if (roll < 45) return this.#put();
    if (roll < 70) return this.#txn();
    if (roll < 82) return this.#delete();
    if (roll < 92) return this.#grant();
    if (roll < 97) return this.#revoke();
    if (roll < 98) return this.#addUser();
    return this.#compact();
  }

  #key(): string {
    return `k/${String(this.#dice.below(KEYS)).padStart(2, '0')}`;
  }

  #deletable(): string {
    return `d/${String(this.#dice.below(DELETABLE)).padStart(2, '0')}`;
  }

  /** Of its own, and of any length: records begin and end anywhere in sectors. */
  #value(): string {
    this.#world.next += 1;
    const length = this.#dice.chance(0.05) ? 6_000 : 300;
    return `${this.#world.next}:${'v'.repeat(this.#dice.below(length))}`;
  }

  async #put(): Promise<void> {
    const [lease = 0n] = this.#dice.chance(0.2) ? this.#world.leases.certain : [];
    const key = this.#dice.chance(0.4) ? this.#deletable() : this.#key();
    const put = { key, value: this.#value(), lease };
    const asked = this.#world.ledger.asked({ puts: [put] }, `put ${put.key} ${put.value.split(':')[0]}`);
    try {
      const { header } = await this.#client.unary(KV.put, { ...put, key: bytes(key), value: bytes(put.value) });
      this.#world.ledger.acknowledged(asked, Number(header?.revision));
    } catch (error) {
      // The lease was revoked meanwhile: another writer's doing.
      this.#unlessLeaseGone(error, asked);
    }
  }

  #unlessLeaseGone(error: unknown, asked: Asked): void {
    if (!(error instanceof WireFailure) || error.code !== GrpcCode.NOT_FOUND) throw error;
    this.#world.ledger.acknowledged(asked, undefined);
  }

  async #txn(): Promise<void> {
    const keys = new Set([this.#key(), this.#key(), this.#key()]);
    const puts = [...keys].map((key) => ({ key, value: this.#value(), lease: 0n }));
    const deletes = [this.#deletable(), 'd/99'] as const;
    const name = `txn ${puts.map(({ key, value }) => `${key} ${value.split(':')[0]}`).join(', ')}`;
    const asked = this.#world.ledger.asked({ puts, deletes: this.#dice.chance(0.3) ? [...deletes] : undefined }, name);
    const ops = puts.map(({ key, value }) => ({ requestPut: { key: bytes(key), value: bytes(value) } }));
    const { deletes: range } = asked.operation;
    const last = range ? [{ requestDeleteRange: { key: bytes(range[0]), rangeEnd: bytes(range[1]) } }] : [];
    const { header } = await this.#client.unary(KV.txn, { success: [...ops, ...last] });
    this.#world.ledger.acknowledged(asked, Number(header?.revision));
  }

  async #delete(): Promise<void> {
    const from = this.#deletable();
    const to = `${from.slice(0, -1)}~`;
    const asked = this.#world.ledger.asked({ puts: [], deletes: [from, to] }, `delete ${from} to ${to}`);
    const { header, deleted } = await this.#client.unary(KV.deleteRange, { key: bytes(from), rangeEnd: bytes(to) });
    this.#world.ledger.acknowledged(asked, deleted > 0n ? Number(header?.revision) : undefined);
  }

  async #grant(): Promise<void> {
    this.#world.next += 1;
    const id = BigInt(1_000_000 + this.#world.next);
    const { leases } = this.#world;
    leases.possible.add(id);
    await this.#client.unary(Lease.leaseGrant, { ID: id, TTL: TTL_SECONDS });
    leases.possible.delete(id);
    leases.certain.add(id);
  }

  async #revoke(): Promise<void> {
    const { leases, ledger } = this.#world;
    const [id] = leases.certain;
    if (id === undefined) return;
    leases.certain.delete(id);
    leases.possible.add(id);
    const asked = ledger.asked({ puts: [], revokes: id }, `revoke ${id}`);
    await this.#client.unary(Lease.leaseRevoke, { ID: id });
    leases.possible.delete(id);
    // Whether it had keys the answer does not say.
    ledger.effective(asked);
  }

  async #addUser(): Promise<void> {
    this.#world.next += 1;
    const name = `user${this.#world.next}`;
    const { users } = this.#world;
    users.possible.add(name);
    await this.#client.unary(Auth.userAdd, { name, password: 'torture-secret' });
    users.possible.delete(name);
    users.certain.add(name);
  }

  async #compact(): Promise<void> {
    const { compacted } = this.#world;
    const revision = this.#world.compactable();
    if (revision <= compacted.asked) return;
    compacted.asked = revision;
    await this.#client.unary(KV.compact, { revision: BigInt(revision) });
    compacted.acknowledged = revision;
  }
}
