/** Random logs: what members hold depends on the log alone, also if one of them began with an image. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PermissionType } from '../../../src/protocol/generated/authpb.ts';
import { CompareResult, CompareTarget } from '../../../src/protocol/generated/etcdserverpb.ts';
import { InternalRaftRequest } from '../../../src/protocol/generated/raftinternalpb.ts';
import type { MemberId } from '../../../src/protocol/int64.ts';
import { toBytes } from '../../../src/protocol/keys.ts';
import type { StateMachine } from '../../../src/server/apply/machine.ts';
import { encodeMemberContext } from '../../../src/server/apply/member-context.ts';
import { type ConfChangeType, confChangeEntry } from '../../../src/server/raft/conf-change.ts';
import type { Entry } from '../../../src/server/raft/types.ts';
import { Bench, compact, disarm, put, type Request, raise, reborn, remove, saidOf, sharedState } from './support.ts';

const key = fc.constantFrom('a', 'b', 'c', 'd', 'da', 'e');
const lease = fc.constantFrom(0n, 1n, 2n, -3n);
const user = fc.constantFrom('root', 'ann', 'bob');
const role = fc.constantFrom('root', 'r', 's');

const op = fc.oneof(
  fc.tuple(key, lease).map(([k, l]) => ({ requestPut: put(k, 'txn', l).put })),
  key.map((k) => ({ requestDeleteRange: remove(k, 'e').deleteRange })),
  key.map((k) => ({ requestRange: { key: toBytes(k) } })),
);
const ops = fc.array(op, { maxLength: 3 });
const txn = fc.record({ k: key, success: ops, failure: ops }).map(
  ({ k, success, failure }): Request => ({
    txn: {
      compare: [{ target: CompareTarget.VERSION, result: CompareResult.GREATER, key: toBytes(k), version: 1n }],
      success,
      failure,
    },
  }),
);

const auth = fc.oneof(
  user.map((name): Request => ({ authUserAdd: { name, hashedPassword: 'aGFzaA==' } })),
  user.map((name): Request => ({ authUserDelete: { name } })),
  role.map((name): Request => ({ authRoleAdd: { name } })),
  role.map((name): Request => ({ authRoleDelete: { role: name } })),
  fc.tuple(user, role).map(([name, one]): Request => ({ authUserGrantRole: { user: name, role: one } })),
  fc.tuple(role, key).map(
    ([name, k]): Request => ({
      authRoleGrantPermission: { name, perm: { permType: PermissionType.WRITE, key: toBytes(k) } },
    }),
  ),
  fc.constant<Request>({ authEnable: {} }),
  fc.constant<Request>({ authDisable: {} }),
);

const cluster = fc.oneof(
  fc.constantFrom(raise(1), raise(2), raise(1, 2n), disarm(1), disarm(2), disarm(1), disarm(1, 2n), disarm(2)),
  fc.constantFrom<Request>(
    { clusterVersionSet: { ver: '3.5.0' } },
    { downgradeInfoSet: { enabled: true, ver: '3.4.0' } },
  ),
  fc.bigInt(1n, 4n).map(
    (memberID): Request => ({
      clusterMemberAttrSet: { memberID, memberAttributes: { name: 'm', clientUrls: ['c'] } },
    }),
  ),
);

const request: fc.Arbitrary<Request> = fc.oneof(
  { weight: 8, arbitrary: fc.tuple(key, fc.string({ maxLength: 9 }), lease).map(([k, v, l]) => put(k, v, l)) },
  { weight: 4, arbitrary: fc.tuple(key, fc.constantFrom('', 'c', '\0')).map(([k, end]) => remove(k, end)) },
  { weight: 4, arbitrary: txn },
  { weight: 3, arbitrary: fc.integer({ min: -1, max: 40 }).map(compact) },
  {
    weight: 4,
    arbitrary: fc.tuple(lease, fc.bigInt(-1n, 90n)).map(([ID, TTL]): Request => ({ leaseGrant: { ID, TTL } })),
  },
  { weight: 2, arbitrary: lease.map((ID): Request => ({ leaseRevoke: { ID } })) },
  {
    weight: 1,
    arbitrary: lease.map((ID): Request => ({ leaseCheckpoint: { checkpoints: [{ ID, remainingTTL: 9n }] } })),
  },
  { weight: 3, arbitrary: auth },
  { weight: 3, arbitrary: cluster },
);

/** With the name of root, since authentication may be on. */
const normal = fc.tuple(request, fc.boolean()).map(([body, isRoot]) => ({
  type: 'EntryNormal' as const,
  data: new Uint8Array(
    InternalRaftRequest.encode({
      ...body,
      header: { ID: 1n, ...(isRoot && { username: 'root', authRevision: 1_000n }) },
    }),
  ),
}));

const change = fc
  .record({
    kind: fc.constantFrom<ConfChangeType>('add-voter', 'add-learner', 'remove', 'update'),
    id: fc.bigInt(1n, 4n),
    url: fc.constantFrom('u1', 'u2', 'u3'),
    isPromote: fc.boolean(),
  })
  .map(({ kind, id, url, isPromote }) => {
    const member = { id, name: '', peerUrls: [url], clientUrls: [], isLearner: kind === 'add-learner' };
    const context = encodeMemberContext({ member, isPromote });
    return confChangeEntry({ type: kind, nodeId: id as MemberId, id: 1n, context });
  });

const log = fc
  .array(fc.oneof({ weight: 9, arbitrary: normal }, { weight: 1, arbitrary: change }), { minLength: 1, maxLength: 60 })
  .map((entries): Entry[] => entries.map(({ type, data }, i) => ({ term: 1 + (i >> 4), index: i + 1, type, data })));

function applyAll(machine: StateMachine, entries: readonly Entry[], now: (entry: Entry) => number): string[] {
  return entries.map((entry) => {
    const { outcome } = machine.apply(entry, now(entry));
    if (entry.index % 3 === 0) machine.sweep(now(entry) % 7);
    return saidOf(outcome);
  });
}

describe('a log', () => {
  it('leads every member to the same state, whatever its clock, size and sweeps', () => {
    fc.assert(
      fc.property(log, fc.integer({ min: 1, max: 1_000 }), (entries, step) => {
        const one = new Bench();
        const other = new Bench({ quotaBytes: 1, memberId: 2n });
        other.machine.lessor.promote(0, 0);
        const said = applyAll(one.machine, entries, () => 0);
        expect(applyAll(other.machine, entries, ({ index }) => index * step)).toEqual(said);
        expect(sharedState(other.machine)).toEqual(sharedState(one.machine));
      }),
      { numRuns: 300 },
    );
  });

  it('leads there from an image of any of its entries, and entries that come again do nothing', async () => {
    await fc.assert(
      fc.asyncProperty(log, fc.nat(60), fc.nat(5), async (entries, at, again) => {
        const cut = Math.min(at, entries.length);
        const whole = new Bench();
        applyAll(whole.machine, entries.slice(0, cut), () => 0);
        const { machine } = await reborn(whole.machine);
        expect(sharedState(machine)).toEqual(sharedState(whole.machine));
        const said = applyAll(whole.machine, entries.slice(cut), () => 0);
        const repeated = applyAll(machine, entries.slice(Math.max(0, cut - again)), () => 0);
        expect(repeated.slice(repeated.length - said.length)).toEqual(said);
        expect(sharedState(machine)).toEqual(sharedState(whole.machine));
      }),
      { numRuns: 150 },
    );
  });
});
