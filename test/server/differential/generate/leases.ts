/** Requests about leases, locks and elections. None lives so short that it could end by itself. */
import { Lease } from '../../../../src/protocol/generated/etcdserverpb.ts';
import { Election } from '../../../../src/protocol/generated/v3electionpb.ts';
import { Lock } from '../../../../src/protocol/generated/v3lockpb.ts';
import { fromLatin1 } from '../../../../src/protocol/keys.ts';
import type { Step } from '../steps.ts';
import { value } from './kv.ts';
import type { Scene } from './scene.ts';

const LONG = [3_600n, 100_000n, 9_000_000_000n, 9_000_000_001n, 2n ** 63n - 1n] as const;

export function leaseSteps(scene: Scene): Step[] {
  const { dice } = scene;
  const as = scene.caller();
  const ID = scene.lease();
  return dice.weighted<() => Step[]>([
    // Releases before 3.5.28 let anybody.
    [
      scene.restricted ? 0 : 10,
      () => [
        { kind: 'call', method: Lease.leaseGrant, request: { ID: ID === 999n ? 104n : ID, TTL: dice.of(LONG) }, as },
      ],
    ],
    [scene.restricted ? 0 : 1, () => short(scene)],
    // Whether keys that hang on it may be deleted is asked by newer releases alone.
    [
      scene.restricted ? 0 : 5,
      () => [{ kind: 'call', method: Lease.leaseRevoke, request: { ID: dice.of([ID, ID, 0n]) }, as }],
    ],
    [6, () => [{ kind: 'call', method: Lease.leaseTimeToLive, request: { ID, keys: dice.chance(70) }, as }]],
    [3, () => [{ kind: 'call', method: Lease.leaseLeases, request: {}, as }]],
    [3, () => [{ kind: 'keepalive', ids: [ID, ...dice.some(2, () => dice.of([scene.lease(), 0n]))], as }]],
  ])();
}

/** The shortest there are; they are gone before their end. */
function short(scene: Scene): Step[] {
  const as = scene.caller();
  const ID = 105n;
  const grant = { ID, TTL: scene.dice.of([1n, 0n, -5n]) };
  return [
    { kind: 'call', method: Lease.leaseGrant, request: grant, as },
    { kind: 'call', method: Lease.leaseRevoke, request: { ID }, as },
  ];
}

/** Each name has one lease, so that nobody waits. */
export function contestStep(scene: Scene): Step {
  const { dice } = scene;
  const as = scene.caller();
  const [name, lease] = dice.of([
    ['E0', 101n],
    ['E1', 102n],
    ['', 103n],
    ['E3', 999n],
  ] as const);
  const leader = dice.chance(90) ? scene.leaders.get(name) : undefined;
  const call = (method: Extract<Step, { kind: 'call' }>['method'], request: object): Step => ({
    kind: 'call',
    method,
    request,
    as,
  });
  return dice.weighted<() => Step>([
    [4, () => call(Lock.lock, { name: fromLatin1(`lock-${name}`), lease })],
    [2, () => call(Lock.unlock, { key: fromLatin1(dice.of([`lock-${name}/${lease.toString(16)}`, '', 'lock-x'])) })],
    [4, () => call(Election.campaign, { name: fromLatin1(`vote-${name}`), lease, value: value(scene) })],
    [2, () => call(Election.leader, { name: fromLatin1(`vote-${name}`) })],
    [2, () => call(Election.proclaim, { leader, value: value(scene) })],
    [2, () => call(Election.resign, { leader })],
    [
      leader ? 1 : 0,
      () => call(Election.proclaim, { leader: leader && { ...leader, rev: leader.rev + 1n }, value: value(scene) }),
    ],
  ])();
}
