/** Every request against every kind of caller. */
import { describe, expect, it } from 'vitest';
import * as etcdserverpb from '../../../src/protocol/generated/etcdserverpb.ts';
import * as health from '../../../src/protocol/generated/grpc_health_v1.ts';
import { InternalRaftRequest } from '../../../src/protocol/generated/raftinternalpb.ts';
import * as election from '../../../src/protocol/generated/v3electionpb.ts';
import * as lock from '../../../src/protocol/generated/v3lockpb.ts';
import { toBytes } from '../../../src/protocol/keys.ts';
import type { Init, MethodDescriptor } from '../../../src/protocol/wire.ts';
import { AuthErrors as E } from '../../../src/server/auth/errors.ts';
import { authorize, RULES } from '../../../src/server/auth/rules.ts';
import { type Actor, NOBODY } from '../../../src/server/auth/store.ts';
import { accessOf, addUser, message, storeWithRoot } from './support.ts';

const { Auth, Cluster, KV, Lease, Maintenance, TxnRequest, Watch } = etcdserverpb;

const store = storeWithRoot(true);
addUser(store, 'nothing', []);
addUser(store, 'reader', [['r', 'a', 'c']]);
addUser(store, 'writer', [['w', 'a', 'c']]);
addUser(store, 'both', [['rw', 'a', 'c']]);
addUser(store, 'point', [['r', 'a']]);
addUser(store, 'onward', [['r', 'a', '\0']]);
const access = accessOf(store, { 1: ['a', 'b'], 2: ['a', 'z'], 3: [] });
const CALLERS = ['nothing', 'point', 'reader', 'writer', 'both', 'onward'] as const;
type Caller = (typeof CALLERS)[number];

const a = toBytes('a');
const c = toBytes('c');
const b = toBytes('b');
const open = toBytes('\0');

/** A request, and which users but root may make it. */
interface Case {
  readonly name: string;
  readonly path: string;
  readonly request: unknown;
  readonly may: readonly Caller[];
}

function on<I, O>(name: string, method: MethodDescriptor<I, O>, fields: Init<I>, may: readonly Caller[]): Case {
  return { name, path: method.path, request: message(method.request, fields), may };
}

type Op = Init<etcdserverpb.RequestOp>;
const nested = (op: Op): Op => ({ requestTxn: { success: [{ requestTxn: { failure: [op] } }] } });

/** The same operation in each place of a transaction that has one. */
function inTxn(name: string, op: Op, may: readonly Caller[]): Case[] {
  return [
    on(`${name}, in a transaction`, KV.txn, { success: [op] }, may),
    on(`${name}, in its other branch`, KV.txn, { failure: [op] }, may),
    on(`${name}, deep inside it`, KV.txn, { failure: [nested(op)] }, may),
  ];
}

const readers = ['reader', 'both', 'onward'] as const;
const writers = ['writer', 'both'] as const;
const everybody = CALLERS;

const CASES: readonly Case[] = [
  on('a range', KV.range, { key: a, rangeEnd: c }, readers),
  on('a range of one key', KV.range, { key: a }, ['point', ...readers]),
  on('a range without end', KV.range, { key: a, rangeEnd: open }, ['onward']),
  on('a range beyond', KV.range, { key: a, rangeEnd: toBytes('c\0') }, ['onward']),
  on('a range in parts', KV.rangeStream, { key: a, rangeEnd: c }, readers),
  ...inTxn('a range', { requestRange: { key: a, rangeEnd: c } }, readers),
  on('a put', KV.put, { key: b }, writers),
  on('a put that reads', KV.put, { key: b, prevKv: true }, ['both']),
  on('a put on a lease', KV.put, { key: b, lease: 1n }, writers),
  on('a put on a lease with a foreign key', KV.put, { key: b, lease: 2n }, []),
  on('a put on a lease without keys', KV.put, { key: b, lease: 3n }, writers),
  ...inTxn('a put', { requestPut: { key: b } }, writers),
  ...inTxn('a put that reads', { requestPut: { key: b, prevKv: true } }, ['both']),
  ...inTxn('a put on a lease with a foreign key', { requestPut: { key: b, lease: 2n } }, []),
  on('a delete', KV.deleteRange, { key: a, rangeEnd: c }, writers),
  on('a delete beyond', KV.deleteRange, { key: a, rangeEnd: open }, []),
  on('a delete that reads', KV.deleteRange, { key: b, prevKv: true }, ['both']),
  ...inTxn('a delete', { requestDeleteRange: { key: b } }, writers),
  ...inTxn('a delete that reads', { requestDeleteRange: { key: b, prevKv: true } }, ['both']),
  on('a compare', KV.txn, { compare: [{ key: a, rangeEnd: c }] }, readers),
  on('a compare deep inside', KV.txn, { success: [{ requestTxn: { compare: [{ key: a }] } }] }, ['point', ...readers]),
  on('an empty transaction', KV.txn, {}, everybody),
  on('a compaction', KV.compact, { revision: 1n }, []),
  on('a watch', Watch.watch, { createRequest: { key: a, rangeEnd: c } }, readers),
  on('a watch of one key', Watch.watch, { createRequest: { key: a } }, ['point', ...readers]),
  on('a watch without end', Watch.watch, { createRequest: { key: a, rangeEnd: open } }, ['onward']),
  on('a watch of everything', Watch.watch, { createRequest: { rangeEnd: open } }, []),
  on('the end of a watch', Watch.watch, { cancelRequest: { watchId: 1n } }, everybody),
  on('a lease', Lease.leaseGrant, { TTL: 9n }, everybody),
  on('the end of a lease', Lease.leaseRevoke, { ID: 1n }, writers),
  on('the end of a lease with a foreign key', Lease.leaseRevoke, { ID: 2n }, []),
  on('the end of no lease', Lease.leaseRevoke, { ID: 9n }, everybody),
  on('renewing a lease', Lease.leaseKeepAlive, { ID: 1n }, writers),
  on('renewing a lease with a foreign key', Lease.leaseKeepAlive, { ID: 2n }, []),
  on('the time of a lease', Lease.leaseTimeToLive, { ID: 2n }, everybody),
  on('the keys of a lease', Lease.leaseTimeToLive, { ID: 1n, keys: true }, readers),
  on('the keys of a lease with a foreign key', Lease.leaseTimeToLive, { ID: 2n, keys: true }, ['onward']),
  on('all leases', Lease.leaseLeases, {}, ['onward']),
  on('the members', Cluster.memberList, {}, everybody),
  on('a new member', Cluster.memberAdd, {}, []),
  on('a member less', Cluster.memberRemove, {}, []),
  on('another member', Cluster.memberUpdate, {}, []),
  on('a member with a vote', Cluster.memberPromote, {}, []),
  on('the alarms', Maintenance.alarm, { action: 0 }, everybody),
  on('an alarm', Maintenance.alarm, { action: 1 }, []),
  on('an alarm less', Maintenance.alarm, { action: 2 }, []),
  on('the status', Maintenance.status, {}, everybody),
  on('defragmenting', Maintenance.defragment, {}, []),
  on('a hash', Maintenance.hash, {}, []),
  on('a hash of the keys', Maintenance.hashKV, {}, []),
  on('a snapshot', Maintenance.snapshot, {}, []),
  on('another leader', Maintenance.moveLeader, {}, []),
  on('a downgrade', Maintenance.downgrade, {}, []),
  on('switching on', Auth.authEnable, {}, []),
  on('switching off', Auth.authDisable, {}, []),
  on('whether it is on', Auth.authStatus, {}, []),
  on('a new user', Auth.userAdd, { name: 'x' }, []),
  on('a user', Auth.userGet, { name: 'both' }, ['both']),
  on('no user', Auth.userGet, { name: '' }, []),
  on('the users', Auth.userList, {}, []),
  on('a user less', Auth.userDelete, { name: 'both' }, []),
  on('a password', Auth.userChangePassword, { name: 'both' }, []),
  on('a role granted', Auth.userGrantRole, { user: 'both', role: 'root' }, []),
  on('a role revoked', Auth.userRevokeRole, { name: 'both', role: 'both' }, []),
  on('a new role', Auth.roleAdd, { name: 'x' }, []),
  on('a role', Auth.roleGet, { role: 'writer' }, ['writer']),
  on('the roles', Auth.roleList, {}, []),
  on('a role less', Auth.roleDelete, { role: 'both' }, []),
  on('a permission granted', Auth.roleGrantPermission, { name: 'both' }, []),
  on('a permission revoked', Auth.roleRevokePermission, { role: 'both' }, []),
];

const OPEN = [
  'authenticate',
  ...Object.keys(lock.Lock),
  ...Object.keys(election.Election),
  ...Object.keys(health.Health),
];

describe('access', () => {
  it.each(CASES)('to $name', ({ path, request, may }) => {
    const answer = (actor: Actor) => authorize(access, path, request, actor);
    expect(CALLERS.filter((name) => answer(store.actor(name)) === undefined)).toEqual(
      CALLERS.filter((name) => may.includes(name)),
    );
    for (const name of CALLERS) if (!may.includes(name)) expect(answer(store.actor(name))).toBe(E.PermissionDenied);
    expect(answer(store.self())).toBeUndefined();
    expect(answer(NOBODY)).toBe(E.UserEmpty);
    expect(answer(store.actor('gone'))).toBe(E.PermissionDenied);
    // A certificate without a name is nobody's, and of administration it is said that there is no name.
    expect([E.PermissionDenied, E.UserEmpty]).toContain(answer(store.actor('')));
  });

  it('has a rule for each method, and a case here for each that is not open', () => {
    const services = [Auth, Cluster, KV, Lease, Maintenance, Watch, lock.Lock, election.Election, health.Health];
    const all = services.flatMap((service) => Object.entries(service)) as [string, { path: string }][];
    expect(new Set(RULES.keys())).toEqual(new Set(all.map(([, { path }]) => path)));
    const open = [...RULES].filter(([, check]) => check === 'open').map(([path]) => path);
    const wanted = all.filter(([name, { path }]) => OPEN.includes(name) && path !== Watch.watch.path);
    expect(new Set(open)).toEqual(new Set(wanted.map(([, { path }]) => path)));
    for (const path of open) expect(authorize(access, path, {}, NOBODY)).toBeUndefined();
    const tried = new Set(CASES.map(({ path }) => path));
    expect([...RULES.keys()].filter((path) => !tried.has(path) && !open.includes(path))).toEqual([]);
  });

  it('to a method that is new is for root alone', () => {
    expect(authorize(access, '/etcdserverpb.KV/New', {}, store.actor('both'))).toBe(E.PermissionDenied);
    expect(authorize(access, '/etcdserverpb.KV/New', {}, store.self())).toBeUndefined();
  });

  it('to what asks about keys needs a fresh token; administration and leases without keys do not', () => {
    const old = { username: 'root', revision: 1n };
    const stale = CASES.filter(({ path, request }) => authorize(access, path, request, old) === E.AuthOldRevision);
    const fresh = CASES.filter(({ path, request }) => authorize(access, path, request, old) === undefined);
    expect(stale.length + fresh.length).toBe(CASES.length);
    expect(new Set(stale.map(({ path }) => path.split('/')[1]))).toEqual(
      new Set(['etcdserverpb.KV', 'etcdserverpb.Watch', 'etcdserverpb.Lease']),
    );
    expect(
      fresh.some(({ path }) => path === KV.txn.path || path === KV.range.path || path === Lease.leaseLeases.path),
    ).toBe(false);
  });

  it('is not asked about while authentication is off', () => {
    const off = storeWithRoot(false);
    for (const { path, request } of CASES) expect(authorize(accessOf(off), path, request, NOBODY)).toBeUndefined();
  });

  it('survives a transaction of any depth', () => {
    let txn = message(TxnRequest, { success: [{ requestPut: { key: toBytes('z') } }] });
    for (let i = 0; i < 100_000; i += 1) {
      const op = { requestTxn: txn, requestRange: undefined, requestPut: undefined, requestDeleteRange: undefined };
      txn = { compare: [], success: [op], failure: [] };
    }
    expect(access.txn(txn, store.actor('both'))).toBe(E.PermissionDenied);
  });
});

describe('an entry of the log', () => {
  const entry = (username: string, fields: Init<InternalRaftRequest>, revision = store.revision) =>
    message(InternalRaftRequest, { header: { ID: 1n, username, authRevision: revision }, ...fields });

  it.each<[string, Init<InternalRaftRequest>, readonly Caller[]]>([
    ['range', { range: { key: a, rangeEnd: c } }, readers],
    ['put', { put: { key: b } }, writers],
    ['delete', { deleteRange: { key: b, prevKv: true } }, ['both']],
    ['txn', { txn: { failure: [nested({ requestPut: { key: b, lease: 2n } })] } }, []],
    ['the end of a lease', { leaseRevoke: { ID: 1n } }, writers],
    ['user', { authUserGet: { name: 'both' } }, ['both']],
    ['role', { authRoleGet: { role: 'writer' } }, ['writer']],
    ['user added', { authUserAdd: { name: 'x' } }, []],
    ['auth disabled', { authDisable: {} }, []],
    ['role list', { authRoleList: {} }, []],
  ])('is checked again: %s', (_, fields, may) => {
    const passing = CALLERS.filter((name) => access.checkEntry(entry(name, fields)) === undefined);
    expect(passing).toEqual(CALLERS.filter((name) => may.includes(name)));
    expect(access.checkEntry(entry('root', fields))).toBeUndefined();
    expect(access.checkEntry(entry('', fields, 0n))).toBe(E.UserEmpty);
    expect(access.checkEntry(message(InternalRaftRequest, fields))).toBe(E.UserEmpty);
  });

  it('that only root may make is known for each kind', () => {
    const fields = Object.keys(message(InternalRaftRequest, {})).filter((name) => name.startsWith('auth'));
    const free = fields.filter((name) => access.checkEntry(entry('both', { [name]: {} })) === undefined);
    // The login itself.
    expect(free).toEqual(['authenticate']);
  });

  it('was overtaken by a change: its revision is old', () => {
    expect(access.checkEntry(entry('both', { put: { key: b } }, store.revision - 1n))).toBe(E.AuthOldRevision);
  });

  it('that members make on their own passes', () => {
    for (const fields of [
      { alarm: { action: 1 as const } },
      { compaction: { revision: 3n } },
      { leaseCheckpoint: {} },
    ]) {
      expect(access.checkEntry(message(InternalRaftRequest, fields))).toBeUndefined();
    }
  });
});
