import { afterEach, describe, expect, it } from 'vitest';
import type { LeaderKey } from '../../../src/client/admin/elections.ts';
import { leaseId, memberId, revision } from '../../../src/protocol/int64.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { type AdminClient, adminClient, type ScriptRecord, scripted } from './callers.ts';

const STATUS = '/etcdserverpb.Maintenance/Status';
const bytes = Uint8Array.of(1);
const leader: LeaderKey = { name: bytes, key: bytes, revision: revision(1), lease: leaseId(1n) };
const alarm = { type: 'nospace', memberId: memberId(1n) } as const;
const id = memberId(1n);
const peerUrls = ['http://10.0.0.1:2380'];

/** A member that fails every call the first time, in a way that leaves open whether it was done. */
function shaky(): { etcd: AdminClient; record: ScriptRecord; clock: VirtualClock } {
  const clock = new VirtualClock();
  const failed = new Set<string>();
  const { transports, record } = scripted({
    unary(path) {
      if (path !== STATUS && !failed.has(path)) {
        failed.add(path);
        return { failure: { grpcCode: 14, details: 'connection reset', sent: 'maybe' } };
      }
      return { message: { header: { clusterId: 1n, memberId: 1n }, version: '3.5.30', leader: 1n, key: bytes } };
    },
  });
  return { etcd: adminClient({ endpoints: ['a:1'], transports, clock }), record, clock };
}

let open: AdminClient | undefined;
afterEach(() => open?.[Symbol.dispose]());

type Call = (etcd: AdminClient) => Promise<unknown>;

const writes: Record<string, Call> = {
  AuthEnable: ({ auth }) => auth.enable(),
  AuthDisable: ({ auth }) => auth.disable(),
  UserAdd: ({ auth }) => auth.users.add('u', { password: 'p' }),
  UserDelete: ({ auth }) => auth.users.delete('u'),
  UserChangePassword: ({ auth }) => auth.users.changePassword('u', { password: 'p' }),
  UserGrantRole: ({ auth }) => auth.users.grantRole('u', 'r'),
  UserRevokeRole: ({ auth }) => auth.users.revokeRole('u', 'r'),
  RoleAdd: ({ auth }) => auth.roles.add('r'),
  RoleDelete: ({ auth }) => auth.roles.delete('r'),
  RoleGrantPermission: ({ auth }) => auth.roles.grantPermission('r', { permission: 'read', target: 'k' }),
  RoleRevokePermission: ({ auth }) => auth.roles.revokePermission('r', 'k'),
  MemberAdd: ({ cluster }) => cluster.add({ peerUrls }),
  MemberRemove: ({ cluster }) => cluster.remove(id),
  MemberUpdate: ({ cluster }) => cluster.update(id, { peerUrls }),
  MemberPromote: ({ cluster }) => cluster.promote(id),
  Defragment: ({ maintenance }) => maintenance.defragment({ endpoint: 'a:1' }),
  MoveLeader: ({ maintenance }) => maintenance.moveLeader(memberId(2n), { endpoint: 'a:1' }),
  Downgrade: ({ maintenance }) => maintenance.downgrade.cancel(),
  Lock: ({ locks }) => locks.lock('n', leaseId(1n)),
  Unlock: ({ locks }) => locks.unlock('k'),
  Campaign: ({ elections }) => elections.campaign('n', leaseId(1n), 'v'),
  Proclaim: ({ elections }) => elections.proclaim(leader, 'v'),
};

const repeatable: Record<string, Call> = {
  AuthStatus: ({ auth }) => auth.status(),
  Authenticate: ({ auth }) => auth.authenticate('u', 'p'),
  UserGet: ({ auth }) => auth.users.get('u'),
  UserList: ({ auth }) => auth.users.list(),
  RoleGet: ({ auth }) => auth.roles.get('r'),
  RoleList: ({ auth }) => auth.roles.list(),
  MemberList: ({ cluster }) => cluster.members(),
  'Alarm list': ({ maintenance }) => maintenance.alarms.list(),
  'Alarm activate': ({ maintenance }) => maintenance.alarms.activate(alarm),
  'Alarm deactivate': ({ maintenance }) => maintenance.alarms.deactivate(alarm),
  Hash: ({ maintenance }) => maintenance.hash(),
  HashKV: ({ maintenance }) => maintenance.hashKv(),
  'Downgrade validate': ({ maintenance }) => maintenance.downgrade.validate('3.4'),
  Leader: ({ elections }) => elections.leader('n'),
  Resign: ({ elections }) => elections.resign(leader),
};

describe('after a failure that leaves open what was done', () => {
  it.each(Object.entries(writes))('%s is not repeated', async (_, call) => {
    const { etcd, record, clock } = shaky();
    open = etcd;
    const failing = call(etcd).then(
      () => 'no failure',
      (error: unknown) => error,
    );
    await clock.advance(60_000);
    expect(await failing).toMatchObject({ code: 'unavailable', applied: 'maybe', attempts: 1 });
    expect(record.unary.filter(({ path }) => path !== STATUS).length).toBe(1);
    expect(clock.pending.all).toBe(0);
  });

  it.each(Object.entries(repeatable))('%s is repeated', async (_, call) => {
    const { etcd, record, clock } = shaky();
    open = etcd;
    const working = call(etcd);
    await clock.advance(4_000);
    await working;
    expect(record.unary.filter(({ path }) => path !== STATUS).length).toBe(2);
    expect(clock.pending.all).toBe(0);
  });
});

it('a user without its hash is there all the same: the failure says that something was done', async () => {
  const { transports, record } = scripted({
    unary: (path) => {
      if (path === STATUS) return { message: { header: {}, version: '3.5.30', leader: 1n } };
      if (path.endsWith('UserAdd')) return { message: { header: {} } };
      return { failure: { grpcCode: 7, details: 'etcdserver: permission denied', sent: 'maybe' } };
    },
  });
  open = adminClient({ endpoints: ['a:1'], transports, clock: new VirtualClock() });
  const hashedPassword = `$2b$04$${'a'.repeat(53)}`;
  const failing = open.auth.users.add('u', { hashedPassword });
  await expect(failing).rejects.toMatchObject({ code: 'permission-denied', applied: 'maybe' });
  const calls = record.unary.filter(({ path }) => path !== STATUS).map(({ path }) => path.split('/').at(-1));
  expect(calls).toEqual(['UserAdd', 'UserChangePassword']);
});

describe('arguments', () => {
  it.each<[string, Call]>([
    ['an empty user name', ({ auth }) => auth.users.add('', { password: 'p' })],
    ['an empty password', ({ auth }) => auth.users.add('u', { password: '' })],
    ['no password', ({ auth }) => auth.users.add('u', {} as { password: string })],
    ['an empty new password', ({ auth }) => auth.users.changePassword('u', { password: '' })],
    ['a hash that is none', ({ auth }) => auth.users.changePassword('u', { hashedPassword: 'not-a-hash' })],
    ['an empty role name', ({ auth }) => auth.roles.add('')],
    ['an unknown alarm', ({ maintenance }) => maintenance.alarms.activate({ type: 'fire' as 'corrupt', memberId: id })],
    ['a negative time', ({ maintenance }) => maintenance.snapshot({ idleTimeoutMs: -1 })],
    ['a time of zero', ({ maintenance }) => maintenance.health({ timeoutMs: 0 })],
  ])('%s never leaves the client', async (_, call) => {
    const { etcd, record } = shaky();
    open = etcd;
    const error: unknown = await call(etcd).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'invalid-argument', applied: 'no', attempts: 0 });
    expect(String(error)).not.toContain('not-a-hash');
    expect(record.unary.filter(({ path }) => path !== STATUS)).toEqual([]);
  });

  it('an alarm of a later etcd keeps its number', async () => {
    const { etcd, record, clock } = shaky();
    open = etcd;
    const working = etcd.maintenance.alarms.deactivate({ type: 'other-7', memberId: id });
    await clock.advance(4_000);
    await working;
    expect(record.unary.at(-1)?.request).toMatchObject({ action: 2, alarm: 7, memberID: 1n });
  });
});
