import { describe, expect, it } from 'vitest';
import { Cluster } from '../../../src/protocol/generated/etcdserverpb.ts';
import { arePeerUrls } from '../../../src/server/api/cluster.ts';
import { refusalOf, Served } from './served.ts';

const A = 'http://10.0.0.1:2380';
const B = 'http://10.0.0.2:2380';
const BAD_URLS = '3 etcdserver: given member URLs are invalid';

describe('arePeerUrls', () => {
  it('takes schemes, hosts and ports that members can dial', () => {
    for (const url of [A, 'https://etcd-0.example:1', 'http://[::1]:2380', 'http://a_b:65535']) {
      expect(arePeerUrls([url]), url).toBe(true);
    }
  });

  it('takes nothing else', () => {
    const bad = [
      '',
      '10.0.0.1:2380',
      'http://10.0.0.1',
      'http://10.0.0.1:2380/',
      'http://10.0.0.1:2380/path',
      'http://10.0.0.1:2380?q',
      'http://:2380',
      'http://10.0.0.1:65536',
      'http://10.0.0.1:http',
      'http://user:secret@10.0.0.1:2380',
      'http://::1:2380',
      'ftp://10.0.0.1:2380',
      'unix://sock:1',
    ];
    for (const url of bad) expect(arePeerUrls([url]), url).toBe(false);
    expect(arePeerUrls([])).toBe(false);
    expect(arePeerUrls([A, 'http://10.0.0.1'])).toBe(false);
  });
});

describe('the Cluster service', () => {
  it('adds members under ids of their own, and lists all by id, without a revision', async () => {
    const served = new Served();
    const first = await served.call(Cluster.memberAdd, { peerURLs: [` ${B} `, A] });
    expect(first.member).toMatchObject({ name: '', peerURLs: [A, B], clientURLs: [], isLearner: false });
    expect(first.header).toMatchObject({ revision: 0n, memberId: 0x11n, clusterId: 0xc1n });
    const others = ['http://10.0.0.3:2380', 'http://10.0.0.4:2380', 'http://10.0.0.5:2380'];
    for (const url of others) await served.call(Cluster.memberAdd, { peerURLs: [url] });
    const { members, header } = await served.call(Cluster.memberList);
    const ids = members.map(({ ID }) => ID);
    expect(ids).toEqual([...ids].sort((a, b) => (a < b ? -1 : 1)));
    expect(new Set(ids).size).toBe(4);
    expect(ids).toContain(first.member?.ID);
    expect(header?.revision).toBe(0n);
    expect(served.member.linearized).toBe(0);
    await served.call(Cluster.memberList, { linearizable: true });
    expect(served.member.linearized).toBe(1);
  });

  it('looks at addresses of a new member before it asks who brings them', async () => {
    const served = new Served();
    await served.enableAuth('ann', 'a/');
    expect(await refusalOf(served.call(Cluster.memberAdd, { peerURLs: ['x'] }))).toBe(BAD_URLS);
    expect(await refusalOf(served.call(Cluster.memberAdd, { peerURLs: [A] }))).toBe('3 etcdserver: user name is empty');
  });

  it('does not give an id again that somebody had before', async () => {
    const served = new Served({ random: () => 0.5 });
    const added = await served.call(Cluster.memberAdd, { peerURLs: [A] });
    await served.call(Cluster.memberRemove, { ID: added.member?.ID });
    const again = await served.call(Cluster.memberAdd, { peerURLs: [A] });
    expect(again.member?.ID).not.toBe(added.member?.ID);
  });

  it('refuses addresses before anything is proposed', async () => {
    const served = new Served();
    expect(await refusalOf(served.call(Cluster.memberAdd, {}))).toBe(BAD_URLS);
    expect(await refusalOf(served.call(Cluster.memberAdd, { peerURLs: ['http://a'] }))).toBe(BAD_URLS);
    expect(served.member.memberChanges).toEqual([]);
    const { member } = await served.call(Cluster.memberAdd, { peerURLs: [A] });
    const update = (ID: bigint | undefined, url: string) =>
      refusalOf(served.call(Cluster.memberUpdate, { ID, peerURLs: [url] }));
    expect(await update(member?.ID, 'nonsense')).toBe(BAD_URLS);
    expect(await update(7n, 'nonsense')).toBe('5 etcdserver: member not found');
    expect(await update(7n, B)).toBe('5 etcdserver: member not found');
    expect(await update(member?.ID, B)).toBe('not refused');
  });

  it('updates, promotes and removes, and answers with who is left', async () => {
    const served = new Served();
    const voter = await served.call(Cluster.memberAdd, { peerURLs: ['http://10.0.0.9:2380'] });
    const { member } = await served.call(Cluster.memberAdd, { peerURLs: [A], isLearner: true });
    const ID = member?.ID;
    const of = (members: readonly { readonly ID: bigint }[]) => members.find((one) => one.ID === ID);
    const updated = await served.call(Cluster.memberUpdate, { ID, peerURLs: [B] });
    expect(of(updated.members)).toMatchObject({ peerURLs: [B], isLearner: true });
    expect(of((await served.call(Cluster.memberPromote, { ID })).members)).toMatchObject({ isLearner: false });
    expect(await refusalOf(served.call(Cluster.memberPromote, { ID }))).toBe(
      '9 etcdserver: can only promote a learner member',
    );
    const { members } = await served.call(Cluster.memberRemove, { ID });
    expect(members.map((one) => one.ID)).toEqual([voter.member?.ID]);
    expect(await refusalOf(served.call(Cluster.memberRemove, { ID }))).toBe('5 etcdserver: member not found');
  });
});
