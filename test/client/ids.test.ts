/** Ids that are none are found before anything is sent, and the error names them. */
import { expect, it } from 'vitest';
import { InvalidArgumentError } from '../../src/client/errors.ts';
import type { Etcd } from '../../src/client/etcd.ts';
import { FakeMembers } from './kv/fake-member.ts';

const WRONG = ['abc', 7, undefined, 2n ** 64n, -(2n ** 63n) - 1n] as never[];
const USES: readonly [what: string, use: (etcd: Etcd, id: never) => Promise<unknown>][] = [
  ['lease id', (etcd, id) => etcd.leases.revoke(id)],
  ['lease id', (etcd, id) => etcd.leases.timeToLive(id)],
  ['lease id', (etcd, id) => etcd.leases.keepAlive(id)],
  ['lease id', (etcd, id) => etcd.leases.keepAliveOnce(id)],
  ['member id', (etcd, id) => etcd.cluster.remove(id)],
  ['member id', (etcd, id) => etcd.cluster.promote(id)],
  ['member id', (etcd, id) => etcd.cluster.update(id, { peerUrls: ['http://a:2380'] })],
  ['member id', (etcd, id) => etcd.maintenance.moveLeader(id)],
  ['member id', (etcd, id) => etcd.maintenance.alarms.deactivate({ type: 'nospace', memberId: id })],
];

it.each(WRONG)('%s is refused wherever an id is meant', async (id) => {
  const members = new FakeMembers();
  await using etcd = members.client();
  for (const [what, use] of USES) {
    const error = await use(etcd, id).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(InvalidArgumentError);
    expect((error as Error).message).toContain(`${String(id)} is no ${what}`);
  }
  expect(members.calls).toEqual([]);
});
