/** Random users, roles and requests: the auth store decides what a real etcd decides. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { EtcdError } from '../../../src/client/errors.ts';
import {
  Auth,
  Cluster,
  KV,
  Lease,
  type RequestOp,
  type TxnRequest,
} from '../../../src/protocol/generated/etcdserverpb.ts';
import { fromLatin1, toBytes } from '../../../src/protocol/keys.ts';
import type { Init, MethodDescriptor } from '../../../src/protocol/wire.ts';
import { Access } from '../../../src/server/auth/access.ts';
import type { AuthError } from '../../../src/server/auth/errors.ts';
import { authorize } from '../../../src/server/auth/rules.ts';
import { AuthStore } from '../../../src/server/auth/store.ts';
import { Lessor } from '../../../src/server/lease/lessor.ts';
import { KvStore } from '../../../src/server/mvcc/store.ts';
import { applyDelete, applyPut, applyTxn } from '../../../src/server/mvcc/txn.ts';
import { type AdminClient, adminClient } from '../../client/admin/callers.ts';
import { describeOnRealEtcd } from '../../support/fixtures.ts';
import { type Grant, message, permission } from './support.ts';

const REQUESTS = 1_500;
const USERS = ['u0', 'u1', 'u2', 'u3'] as const;
const ROLES = ['r0', 'r1', 'r2', 'r3'] as const;
const LEASES = [0n, 0n, 11n, 12n, 13n] as const;

/** Numbers that repeat with the seed (mulberry32). */
function dice(seed: number) {
  let state = seed;
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (n: number): number => Math.floor(next() * n);
  const of = <T>(items: readonly T[]): T => items[below(items.length)] as T;
  const key = (): string => of(['a', 'b', 'c', 'd']) + of(['', '', '\0', 'b', 'ÿ']);
  const end = (from: string): string => {
    const to = of(['', '', '\0', key(), key(), key()]);
    return to === '' || to === '\0' || to > from ? to : '';
  };
  return { below, of, key, end, chance: (percent: number) => below(100) < percent };
}
type Dice = ReturnType<typeof dice>;

interface Call<I, O> {
  readonly method: MethodDescriptor<I, O>;
  readonly request: I;
}
// biome-ignore lint/suspicious/noExplicitAny: the calls in a row are of different types
type AnyCall = Call<any, any>;

function call<I, O>(method: MethodDescriptor<I, O>, fields: Init<NoInfer<I>>): Call<I, O> {
  return { method, request: message(method.request, fields) };
}

function range(roll: Dice) {
  const key = roll.key();
  return { key: fromLatin1(key), rangeEnd: fromLatin1(roll.end(key)) };
}

function put(roll: Dice) {
  return { key: fromLatin1(roll.key()), lease: roll.of(LEASES), prevKv: roll.chance(30) };
}

/** An operation; it may write only where nothing else does, or the keys could clash. */
function op(roll: Dice, mayWrite: boolean): Init<RequestOp> {
  if (!mayWrite) return { requestRange: range(roll) };
  return roll.chance(60)
    ? { requestPut: put(roll) }
    : { requestDeleteRange: { ...range(roll), prevKv: roll.chance(30) } };
}

function txn(roll: Dice, depth: number): Init<TxnRequest> {
  const branch = (mayWrite: boolean): Init<RequestOp>[] => {
    const reads = roll.chance(30) ? [op(roll, false)] : [];
    if (!mayWrite) return reads;
    return [...reads, depth > 0 && roll.chance(40) ? { requestTxn: txn(roll, depth - 1) } : op(roll, true)];
  };
  const first = roll.chance(50);
  return {
    compare: roll.chance(30) ? [{ ...range(roll), target: 0, result: roll.below(4) as 0, version: 1n }] : [],
    success: branch(first),
    failure: branch(!first),
  };
}

function request(roll: Dice): AnyCall {
  const calls: readonly (() => AnyCall)[] = [
    () => call(KV.range, range(roll)),
    () => call(KV.range, range(roll)),
    () => call(KV.put, put(roll)),
    () => call(KV.put, put(roll)),
    () => call(KV.deleteRange, { ...range(roll), prevKv: roll.chance(30) }),
    () => call(KV.txn, txn(roll, 2)),
    () => call(KV.txn, txn(roll, 2)),
    () => call(Lease.leaseTimeToLive, { ID: roll.of(LEASES), keys: roll.chance(80) }),
    () => call(Lease.leaseRevoke, { ID: roll.of(LEASES) }),
    () => call(Lease.leaseLeases, {}),
    () => call(Auth.userGet, { name: roll.of([...USERS, 'x']) }),
    () => call(Auth.roleGet, { role: roll.of([...ROLES, 'x']) }),
    () => call(Auth.userList, {}),
    () => call(Cluster.memberList, {}),
  ];
  return roll.of(calls)();
}

type Change = readonly [call: AnyCall, model: (store: AuthStore) => unknown];

/** A change that root makes, valid or not. None takes a password, which would cost etcd its time. */
function change(roll: Dice): Change {
  const [user, role] = [roll.of([...USERS, 'x']), roll.of([...ROLES, 'x'])];
  const key = roll.key();
  const grant: Grant = [roll.of(['r', 'w', 'rw']), key, roll.chance(10) ? 'a' : roll.end(key)];
  const perm = permission(grant);
  const changes: readonly (() => Change)[] = [
    () => [call(Auth.userGrantRole, { user, role }), (store) => store.userGrantRole({ user, role })],
    () => [call(Auth.userRevokeRole, { name: user, role }), (store) => store.userRevokeRole({ name: user, role })],
    () => [call(Auth.roleAdd, { name: role }), (store) => (role === 'x' ? undefined : store.roleAdd({ name: role }))],
    () => [call(Auth.roleDelete, { role }), (store) => store.roleDelete({ role })],
    ...Array.from({ length: 8 }, () => (): Change => {
      return [call(Auth.roleGrantPermission, { name: role, perm }), (s) => s.roleGrantPermission({ name: role, perm })];
    }),
  ];
  const [made, model] = roll.of(changes)();
  // A role of that name is to stay unknown.
  return made.method.path === Auth.roleAdd.path && role === 'x' ? change(roll) : [made, model];
}

/** Our side: the auth store, and the keys and leases that decisions depend on. */
class Model {
  readonly auth = new AuthStore();
  readonly lessor = new Lessor({ minTtlSeconds: 2 });
  readonly kv = new KvStore(this.lessor);
  readonly access = new Access(this.auth, this.lessor);

  decide({ method, request }: AnyCall, username: string): AuthError | undefined {
    return authorize(this.access, method.path, request, this.auth.actor(username));
  }

  apply({ method, request }: AnyCall): void {
    const has = (lease: bigint): boolean => this.lessor.has(lease);
    if (method.path === KV.put.path) applyPut(this.kv, has, request);
    else if (method.path === KV.deleteRange.path) applyDelete(this.kv, request);
    else if (method.path === KV.txn.path) applyTxn(this.kv, has, request);
    else if (method.path === Lease.leaseRevoke.path) this.revoke(request.ID);
  }

  revoke(id: bigint): void {
    const keys = this.lessor.revoke(id);
    const txn = this.kv.write();
    for (const key of typeof keys === 'string' ? [] : keys) txn.deleteRange({ key, end: '' });
    txn.end();
  }
}

/** The error's name in the protocol, or nothing. */
async function outcome({ caller }: AdminClient, { method, request }: AnyCall): Promise<string | undefined> {
  try {
    await caller.unary(method, request, { kind: 'write' });
    return undefined;
  } catch (error) {
    if (error instanceof EtcdError && error.etcdCode !== undefined) return error.etcdCode;
    throw error;
  }
}

/** What etcd refuses for other reasons than permissions, once it was let in. */
const LET_IN = new Set([undefined, 'LeaseNotFound', 'UserNotFound', 'RoleNotFound', 'KeyNotFound']);

/** What etcd 3.5 does not ask permission for before 3.5.28. */
const LEAKS = new Set<string>([
  Lease.leaseLeases.path,
  Lease.leaseTimeToLive.path,
  Lease.leaseRevoke.path,
  Cluster.memberList.path,
]);

/**
 * What etcd 3.5 looks at: up to 3.5.27 not into transactions inside of one (CVE-2026-33343), up to 3.5.29 not at leases
 * and `prev_kv` of puts in one (CVE-2026-44283), and up to 3.5.27 anybody lists leases (CVE-2026-33413).
 */
function unchecked(made: AnyCall): AnyCall {
  if (made.method.path === Lease.leaseLeases.path) return call(Cluster.memberList, {});
  if (made.method.path !== KV.txn.path) return made;
  const seen = (ops: readonly RequestOp[]): RequestOp[] => {
    const outer = ops.filter(({ requestTxn }) => !requestTxn);
    return outer.map((op) =>
      op.requestPut ? { ...op, requestPut: { ...op.requestPut, lease: 0n, prevKv: false } } : op,
    );
  };
  const { compare, success, failure } = made.request as TxnRequest;
  return { method: KV.txn, request: { compare, success: seen(success), failure: seen(failure) } };
}

describeOnRealEtcd(
  'auth, side by side',
  (suite) => {
    const model = new Model();
    const clients = new Map<string, AdminClient>();
    let root: AdminClient;

    const both = async (client: AdminClient, made: AnyCall, mine: (store: AuthStore) => unknown): Promise<void> => {
      const answer = mine(model.auth) as AuthError | undefined;
      expect(await outcome(client, made)).toBe(answer?.code);
    };

    beforeAll(async () => {
      const { endpoints } = suite.cluster;
      using plain = adminClient({ endpoints });
      for (const name of ['root', ...USERS]) {
        await both(plain, call(Auth.userAdd, { name, password: name }), (store) => {
          return store.userAdd(message(Auth.userAdd.request, { name }));
        });
        clients.set(name, adminClient({ endpoints, credentials: { username: name, password: name } }));
      }
      root = clients.get('root') as AdminClient;
      await both(plain, call(Auth.authEnable, {}), (store) => store.enable());
      await both(plain, call(Auth.userGrantRole, { user: 'root', role: 'root' }), (store) => {
        return store.userGrantRole({ user: 'root', role: 'root' });
      });
      for (const name of ROLES) await both(plain, call(Auth.roleAdd, { name }), (store) => store.roleAdd({ name }));
      await both(plain, call(Auth.authEnable, {}), (store) => store.enable());
    });
    afterAll(() => {
      for (const client of clients.values()) client[Symbol.dispose]();
    });

    const renewLeases = async (): Promise<void> => {
      for (const ID of new Set(LEASES)) {
        if (ID === 0n || model.lessor.has(ID)) continue;
        model.lessor.grant(ID, 9_000n, 0);
        expect(await outcome(root, call(Lease.leaseGrant, { ID, TTL: 9_000n }))).toBeUndefined();
      }
    };

    it(`decides about ${REQUESTS} requests of users whose permissions change`, async () => {
      const roll = dice(20_240_501);
      let leaks = 0;
      const counts = new Map<string, { allowed: number; denied: number }>();
      for (let i = 0; i < REQUESTS; i += 1) {
        if (i % 5 === 0) await both(root, ...change(roll));
        await renewLeases();
        const user = roll.of(USERS);
        const made = request(roll);
        const mine = model.decide(made, user);
        const real = await outcome(clients.get(user) as AdminClient, made);
        const what = `${i}: ${user} ${made.method.path}`;
        const leak = mine && LET_IN.has(real) && !model.decide(unchecked(made), user);
        if (leak) leaks += 1;
        else expect(`${what} ${LET_IN.has(real) ? 'let in' : real}`).toBe(`${what} ${mine?.code ?? 'let in'}`);
        if (real === undefined) model.apply(made);
        const count = counts.get(made.method.path) ?? { allowed: 0, denied: 0 };
        count[mine ? 'denied' : 'allowed'] += 1;
        counts.set(made.method.path, count);
      }
      // Mostly the two agree about transactions too, or this would show little.
      expect(leaks).toBeLessThan(
        (counts.get(KV.txn.path)?.denied ?? 0) / 2 + (counts.get(Lease.leaseLeases.path)?.denied ?? 0),
      );
      // Both happened to everything that both can happen to.
      for (const { path } of [KV.range, KV.put, KV.deleteRange, KV.txn, Lease.leaseTimeToLive, Lease.leaseRevoke]) {
        expect(counts.get(path)?.allowed, path).toBeGreaterThan(5);
        expect(counts.get(path)?.denied, path).toBeGreaterThan(5);
      }
    });

    it('ends with the same users, roles and keys of leases', async () => {
      const { users } = await root.caller.unary(Auth.userList, {}, { kind: 'read' });
      expect(users).toEqual(model.auth.userList());
      for (const name of users) {
        const { roles } = await root.caller.unary(Auth.userGet, { name }, { kind: 'read' });
        expect(roles).toEqual(model.auth.userGet(name));
      }
      const { roles } = await root.caller.unary(Auth.roleList, {}, { kind: 'read' });
      expect(roles).toEqual(model.auth.roleList());
      for (const role of roles) {
        const { perm } = await root.caller.unary(Auth.roleGet, { role }, { kind: 'read' });
        const asText = (list: unknown) => new Set((list as typeof perm).map((one) => JSON.stringify(plain(one))));
        expect(asText(perm)).toEqual(asText(model.auth.roleGet(role)));
      }
      for (const ID of model.lessor.list()) {
        const { keys } = await root.caller.unary(Lease.leaseTimeToLive, { ID, keys: true }, { kind: 'read' });
        const names = keys.map((key) => Buffer.from(key).toString('latin1'));
        expect(names.sort()).toEqual([...model.lessor.keysOf(ID)].sort());
      }
      const { authRevision } = await root.caller.unary(Auth.authStatus, {}, { kind: 'read' });
      expect(model.auth.revision).toBe(authRevision);
    });

    it('answers nobody the same, whatever they ask', async () => {
      using nobody = adminClient({ endpoints: suite.cluster.endpoints });
      const roll = dice(7);
      for (let i = 0; i < 100; i += 1) {
        const made = request(roll);
        // Where nothing is asked for, etcd does not ask who asks.
        if (made.method.path === KV.txn.path && isEmpty(unchecked(made).request)) continue;
        const real = await outcome(nobody, made);
        if (real === undefined && LEAKS.has(made.method.path)) continue;
        if (real === 'LeaseNotFound' && LEAKS.has(made.method.path)) continue;
        expect(real, made.method.path).toBe('UserEmpty');
      }
      expect(await outcome(nobody, call(KV.put, { key: toBytes('a') }))).toBe('UserEmpty');
    });
  },
  { versions: ['3.5'] },
);

function plain({ permType, key, rangeEnd }: { permType: number; key: Uint8Array; rangeEnd: Uint8Array }) {
  return [permType, Buffer.from(key).toString('hex'), Buffer.from(rangeEnd).toString('hex')];
}

function isEmpty({ compare, success, failure }: TxnRequest): boolean {
  const nested = [...success, ...failure].every(({ requestTxn }) => requestTxn && isEmpty(requestTxn));
  return compare.length === 0 && nested;
}
