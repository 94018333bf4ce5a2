import { describe, expect, it } from 'vitest';
import { Membership } from '../../../src/server/apply/membership.ts';
import { KnownMembers } from '../../../src/server/member/known-members.ts';
import type { BackendMember } from '../../../src/server/snapshot/backend-state.ts';

function member(id: bigint): BackendMember {
  return { id, name: `m${id}`, peerUrls: [`http://m${id}:2380`], clientUrls: [], isLearner: false };
}

const add = (members: Membership, id: bigint): void => {
  members.change({ type: 'add-voter', nodeId: id as never }, { member: member(id), isPromote: false });
};

describe('a member that joins', () => {
  it('knows those it was told of until its log has told of itself', () => {
    const applied = new Membership();
    const known = new KnownMembers(3n, applied, [member(1n), member(2n), member(3n)]);
    const ids = () => known.list().map(({ id }) => id);
    expect(ids()).toEqual([1n, 2n, 3n]);
    add(applied, 1n);
    add(applied, 4n);
    expect(ids()).toEqual([1n, 2n, 3n, 4n]);
    expect(known.get(2n)?.name).toBe('m2');
    applied.change({ type: 'remove', nodeId: 4n as never }, undefined);
    add(applied, 2n);
    applied.change({ type: 'remove', nodeId: 2n as never }, undefined);
    expect([ids(), known.get(2n), known.wasRemoved(2n)]).toEqual([[1n, 3n], undefined, true]);
    add(applied, 3n);
    expect(ids()).toEqual([1n, 3n]);
    applied.change({ type: 'remove', nodeId: 1n as never }, undefined);
    expect(ids()).toEqual([3n]);
  });

  it('and one that founds know nothing but their log', () => {
    const applied = new Membership();
    add(applied, 1n);
    expect(new KnownMembers(2n, applied).list().map(({ id }) => id)).toEqual([1n]);
  });
});
