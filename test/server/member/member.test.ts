import { describe, expect, it } from 'vitest';
import { AuthErrors } from '../../../src/server/auth/errors.ts';
import type { Member } from '../../../src/server/member/member.ts';
import { MemoryDisk } from '../../../src/server/storage/memory-disk.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { CLIENT_URL, NAME, PEER_URL, put, startMember, valueAt } from './support.ts';

describe('a member', () => {
  it('in memory is ready without any time passing, and says who it is', async () => {
    const clock = new VirtualClock();
    const startedAt = clock.now();
    await using member = await startMember(clock);
    expect(clock.now()).toBe(startedAt);
    expect(member.position.leader).toBe(member.id);
    expect(member.state.members.list()).toEqual([
      { id: member.id, name: NAME, peerUrls: [PEER_URL], clientUrls: [CLIENT_URL], isLearner: false },
    ]);
    // The leader has decided on it by itself.
    await put(member, 'a', '1');
    expect(member.state.members.clusterVersion).toBe('3.5.0');
    expect(valueAt(member, 'a')).toBe('1');
  });

  it('has after a restart what it had, under the same ids', async () => {
    const disk = new MemoryDisk();
    const clock = new VirtualClock();
    const first = await startMember(clock, disk);
    await put(first, 'a', '1');
    const { result, revision } = await put(first, 'a', '2');
    expect(result).toMatchObject({ type: 'put' });
    expect(revision).toBe(3);
    const { id, clusterId } = first;
    await first.stop();
    disk.crash('none');
    await using second = await startMember(clock, disk);
    expect([second.id, second.clusterId]).toEqual([id, clusterId]);
    await second.linearize();
    expect(valueAt(second, 'a')).toBe('2');
    expect(second.state.store.revision).toBe(3);
  });

  it('after a restart knows no token of before, though the logins are in its log', async () => {
    const disk = new MemoryDisk();
    const clock = new VirtualClock();
    const first = await startMember(clock, disk);
    await first.propose({ authUserAdd: { name: 'root', hashedPassword: 'of no meaning here' } });
    await first.propose({ authUserGrantRole: { user: 'root', role: 'root' } });
    await first.propose({ authEnable: {} });
    const old = await login(first);
    expect(await first.tokens.resolve(old)).toMatchObject({ username: 'root' });
    await first.stop();
    await using second = await startMember(clock, disk);
    expect(await second.tokens.resolve(old)).toBe(AuthErrors.InvalidAuthToken);
    expect(await second.tokens.resolve(await login(second))).toMatchObject({ username: 'root' });
  });
});

/** A token for root. */
async function login(member: Member): Promise<string> {
  const authenticate = { name: 'root', password: '', simpleToken: member.tokens.prefix() };
  const { result } = await member.propose({ authenticate });
  if (result.type !== 'auth-login') throw new Error(`a login ended as ${result.type}`);
  return (await member.tokens.issue(result.login)) as string;
}
