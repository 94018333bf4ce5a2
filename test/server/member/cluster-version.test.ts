import { describe, expect, it } from 'vitest';
import type { InternalRaftRequest } from '../../../src/protocol/generated/raftinternalpb.ts';
import type { Init } from '../../../src/protocol/wire.ts';
import { Membership } from '../../../src/server/apply/membership.ts';
import type { V2Put } from '../../../src/server/apply/v2-request.ts';
import { ClusterVersion } from '../../../src/server/member/cluster-version.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';

/** The leader of members with these versions; undefined: it does not answer. The first one is its own. */
async function decided(
  versions: readonly (string | undefined)[],
  before: { version?: string; target?: string } = {},
): Promise<readonly (Init<InternalRaftRequest> | V2Put)[]> {
  const clock = new VirtualClock();
  const members = new Membership();
  for (const i of versions.keys()) {
    const id = BigInt(i + 1);
    const member = { id, name: '', peerUrls: [`http://m${id}`], clientUrls: [], isLearner: i > 1 };
    members.change({ type: i > 1 ? 'add-learner' : 'add-voter', nodeId: id as never }, { member, isPromote: false });
  }
  if (before.version) members.setClusterVersion(before.version);
  if (before.target) members.setDowngrade(before.target);
  const proposed: (Init<InternalRaftRequest> | V2Put)[] = [];
  const said = new Map<bigint, string>();
  for (const [i, version] of versions.entries()) if (i > 0 && version) said.set(BigInt(i + 1), version);
  const keeper = new ClusterVersion({
    id: 1n,
    version: versions[0] as string,
    clock,
    members,
    versions: async () => said,
    propose: async (request) => {
      proposed.push(request);
      if (request.downgradeInfoSet) members.setDowngrade(undefined);
    },
    proposeV2: async (put) => {
      proposed.push(put);
      members.setClusterVersion(put.value);
    },
  });
  keeper.lead();
  await clock.advance(9_000);
  keeper.stop();
  expect(clock.pending.all).toBe(0);
  return proposed;
}

const set = (value: string) => ({ path: '/0/version', value });

describe('the version of a cluster', () => {
  it.each([
    ['one member', ['3.5.30'], {}, [set('3.5.0')]],
    ['the lowest, learners too', ['3.6.1', '3.5.30', '3.5.2'], {}, [set('3.5.0')]],
    ['the least while one has not said', ['3.5.30', undefined], {}, [set('3.0.0')]],
    ['as it was while one has not said', ['3.6.1', undefined], { version: '3.5.0' }, []],
    ['up when all are', ['3.6.1', '3.6.0'], { version: '3.5.0' }, [set('3.6.0')]],
    ['by numbers', ['3.10.0', '3.10.0'], { version: '3.9.0' }, [set('3.10.0')]],
    ['never down', ['3.5.1', '3.4.0'], { version: '3.5.0' }, []],
    [
      'down if asked for, and then that is over',
      ['3.4.1', '3.4.0'],
      { version: '3.5.0', target: '3.4.0' },
      [set('3.4.0'), { downgradeInfoSet: { enabled: false, ver: '' } }],
    ],
    [
      'down to the lowest; it is over when all are',
      ['3.5.1', '3.4.0'],
      { version: '3.5.0', target: '3.4.0' },
      [set('3.4.0')],
    ],
  ] as const)('%s', async (_name, versions, before, expected) => {
    expect(await decided(versions, before)).toEqual(expected);
  });

  it('is not decided by who leads no more', async () => {
    const clock = new VirtualClock();
    let asked = 0;
    const ask = async (): Promise<void> => {
      asked += 1;
    };
    const members = new Membership();
    const keeper = new ClusterVersion({
      id: 1n,
      version: '3.5.30',
      clock,
      members,
      versions: async () => new Map(),
      propose: ask,
      proposeV2: ask,
    });
    keeper.lead();
    keeper.stop();
    await clock.advance(20_000);
    expect(asked).toBe(0);
  });
});
