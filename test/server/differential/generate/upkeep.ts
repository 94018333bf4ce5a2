/** Requests about the member and the cluster, and bytes that are no request. */
import { Cluster, KV, Lease, Maintenance } from '../../../../src/protocol/generated/etcdserverpb.ts';
import { type AnyMethod, OWN_MEMBER, type Step } from '../steps.ts';
import { put, range, revisionNear } from './kv.ts';
import type { Scene } from './scene.ts';

export function upkeepSteps(scene: Scene): Step[] {
  const { dice } = scene;
  const as = scene.caller();
  const call = (method: AnyMethod, request: object): Step[] => [{ kind: 'call', method, request, as }];
  const member = dice.of([OWN_MEMBER, 1n, 0n]);
  return dice.weighted<() => Step[]>([
    [4, () => call(Cluster.memberList, { linearizable: dice.chance(50) })],
    [
      1,
      () =>
        call(Cluster.memberAdd, { peerURLs: dice.of([[], ['x'], ['http://127.0.0.1'], ['http://a:1/path'], ['']]) }),
    ],
    [1, () => call(Cluster.memberRemove, { ID: dice.of([1n, 0n]) })],
    [
      1,
      () =>
        call(Cluster.memberUpdate, { ID: dice.of([1n, 0n]), peerURLs: dice.of([[], ['http://127.0.0.1:1'], ['x']]) }),
    ],
    [1, () => call(Cluster.memberPromote, { ID: member })],
    [8, () => call(Maintenance.hashKV, { revision: dice.of([0n, revisionNear(scene), revisionNear(scene)]) })],
    [1, () => call(Maintenance.hash, {})],
    [3, () => call(Maintenance.status, {})],
    [1, () => call(Maintenance.defragment, {})],
    [1, () => call(Maintenance.moveLeader, { targetID: member })],
    [
      1,
      () =>
        call(Maintenance.downgrade, {
          action: dice.of([0, 9]),
          version: dice.of(['3.4', '3.4.0', '3.5', '3.3.0', 'x', '']),
        }),
    ],
    [2, () => alarm(scene)],
    [4, () => [{ kind: 'bytes', ...malformed(scene), as }]],
  ])();
}

/** Raised, felt, and taken back. */
function alarm(scene: Scene): Step[] {
  const { dice } = scene;
  const as = scene.authOn ? 'root' : scene.caller();
  const kind = dice.of([0, 1, 2]);
  const call = (action: number, memberID: bigint, alarm: number): Step => ({
    kind: 'call',
    method: Maintenance.alarm,
    request: { action, memberID, alarm },
    as,
  });
  const felt: Step[] = [
    { kind: 'call', method: Lease.leaseGrant, request: { ID: 106n, TTL: 3_600n }, as },
    { kind: 'call', method: KV.put, request: put(scene), as },
    { kind: 'call', method: KV.range, request: range(scene), as },
    { kind: 'call', method: Maintenance.status, request: {}, as },
  ];
  return [
    call(1, dice.of([OWN_MEMBER, 0n]), kind),
    call(0, 0n, dice.of([0, kind])),
    ...felt,
    call(2, dice.of([OWN_MEMBER, 0n, 1n]), kind),
    call(2, OWN_MEMBER, kind),
    call(2, 0n, kind),
    call(0, 0n, 0),
  ];
}

/** Bytes that are cut short, changed, or anything. */
function malformed(scene: Scene): { method: AnyMethod; bytes: Uint8Array } {
  const { dice } = scene;
  const method = dice.of<AnyMethod>([KV.put, KV.range]);
  const good = method.request.encode(method === KV.put ? put(scene) : range(scene));
  const bytes = Uint8Array.from(good);
  return {
    method,
    bytes: dice.of([
      // A length that goes on for ever, fields of a foreign type, and groups.
      bytes.subarray(0, Math.max(0, bytes.length - 1)),
      Uint8Array.of(0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f),
      Uint8Array.of(0x08, 0x01),
      Uint8Array.of(0x00),
      Uint8Array.of(0xff, 0xff),
      // Fields that nobody knows.
      Uint8Array.of(0x0a, 0x01, 0x61, 0xf8, 0x07, 0x01),
    ]),
  };
}
