import { describe, expect, it } from 'vitest';
import { type ClusterView, checkChange, HEALTHY_MS } from '../../../src/server/member/member-changes.ts';
import type { BackendMember } from '../../../src/server/snapshot/backend-state.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { PEER_URL, refusalOf, startMember } from './support.ts';

const NOW = 100_000;

function member(id: bigint, more: Partial<BackendMember> = {}): BackendMember {
  return { id, name: `m${id}`, peerUrls: [`http://host${id}:2380`], clientUrls: [], isLearner: false, ...more };
}

/** A cluster seen from member 1; those in `down` are not connected. */
function view(members: readonly BackendMember[], down: readonly bigint[] = [], since = 0): ClusterView {
  return {
    self: 1n,
    now: NOW,
    members: {
      list: () => members,
      get: (id) => members.find((one) => one.id === id),
      wasRemoved: (id) => id === 99n,
      clusterVersion: '3.5.0',
      downgradeTarget: undefined,
    },
    connectedSince: (id) => (down.includes(id) ? undefined : since),
    progress: new Map(members.map(({ id }) => [id, { match: id === 9n ? 80 : 100 }])),
  };
}

const three = [member(1n), member(2n), member(3n)];
const newcomer = { type: 'add', member: member(7n, { name: '' }) } as const;
const NOT_STARTED = 'etcdserver: re-configuration failed due to not enough started members';

describe('a change of members is refused', () => {
  it.each([
    [
      'an id that was removed comes back',
      { type: 'add', member: member(99n) },
      view(three),
      'etcdserver: member ID already exist',
    ],
    [
      'an address is taken',
      { type: 'add', member: member(7n, { peerUrls: ['http://host2:2380'] }) },
      view(three),
      'etcdserver: Peer URLs already exists',
    ],
    ['too few have started for the larger quorum', newcomer, view([member(1n), member(2n, { name: '' })]), NOT_STARTED],
    ['a voter is away', newcomer, view(three, [3n]), 'etcdserver: unhealthy cluster'],
    [
      'a voter is back for a moment only',
      newcomer,
      view(three, [], NOW - HEALTHY_MS + 1),
      'etcdserver: unhealthy cluster',
    ],
    ['it is not there', { type: 'remove', id: 7n }, view(three), 'etcdserver: member not found'],
    ['it is the only one', { type: 'remove', id: 1n }, view([member(1n)]), NOT_STARTED],
    ['the others would have no quorum', { type: 'remove', id: 2n }, view(three, [3n]), 'etcdserver: unhealthy cluster'],
    ['it is no learner', { type: 'promote', id: 2n }, view(three), 'etcdserver: can only promote a learner member'],
    [
      'it lags behind',
      { type: 'promote', id: 9n },
      view([...three, member(9n, { isLearner: true })]),
      'etcdserver: can only promote a learner member which is in sync with leader',
    ],
  ] as const)('if %s', (_name, change, cluster, text) => {
    expect(checkChange(change, cluster, true)?.text).toBe(text);
  });

  it('only for what can never be, without the strict check', () => {
    expect(checkChange(newcomer, view(three, [3n]), false)).toBeUndefined();
    expect(checkChange({ type: 'remove', id: 2n }, view(three, [3n]), false)).toBeUndefined();
    expect(checkChange({ type: 'remove', id: 1n }, view([member(1n)]), false)?.text).toBe(NOT_STARTED);
  });
});

describe('a change of members is let through', () => {
  it.each([
    ['a second member comes', newcomer, view([member(1n)])],
    ['a fourth one comes', newcomer, view(three)],
    [
      'a learner comes while others have not started',
      { type: 'add', member: member(7n, { isLearner: true }) },
      view([member(1n), member(2n, { name: '' })]),
    ],
    ['one that is down goes', { type: 'remove', id: 3n }, view(three, [3n])],
    ['a learner goes', { type: 'remove', id: 9n }, view([member(1n), member(9n, { isLearner: true })])],
  ] as const)('if %s', (_name, change, cluster) => {
    expect(checkChange(change, cluster, true)).toBeUndefined();
  });
});

describe('a member on its own', () => {
  it('takes a learner, changes its addresses and removes it', async () => {
    const clock = new VirtualClock();
    await using running = await startMember(clock);
    const learner = member(7n, { name: '', isLearner: true });
    expect(await running.changeMembers({ type: 'add', member: learner })).toContainEqual(learner);
    const moved = ['http://elsewhere:2380'];
    expect(await running.changeMembers({ type: 'update', id: 7n, peerUrls: moved })).toContainEqual({
      ...learner,
      peerUrls: moved,
    });
    // Checked where it is applied, too.
    const taken = running.changeMembers({ type: 'update', id: 7n, peerUrls: [PEER_URL] });
    expect(await refusalOf(taken)).toBe('etcdserver: Peer URLs already exists');
    expect(await refusalOf(running.moveLeader(7n))).toBe('etcdserver: bad leader transferee');
    await running.moveLeader(running.id);
    expect(await running.changeMembers({ type: 'remove', id: 7n })).toHaveLength(1);
    expect(await refusalOf(running.changeMembers({ type: 'remove', id: running.id }))).toBe(NOT_STARTED);
    expect(running.position.leader).toBe(running.id);
  });
});
