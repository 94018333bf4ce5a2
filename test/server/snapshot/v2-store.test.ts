import { describe, expect, it } from 'vitest';
import { decodeV2Attributes, encodeV2Store } from '../../../src/server/snapshot/v2-store.ts';

const members = [
  { id: 0xan, name: 'm1', peerUrls: ['http://a:2380'], clientUrls: ['http://a:2379'], isLearner: false },
  { id: 0xbn, name: '', peerUrls: ['http://b:2380'], clientUrls: [], isLearner: true },
];

describe('the store of version 2', () => {
  it('has members, removed ones and the version where servers look for them', () => {
    const text = Buffer.from(encodeV2Store({ members, removedMembers: [0xcn], clusterVersion: '3.5.0' })).toString();
    const { Root, CurrentVersion } = JSON.parse(text);
    expect(CurrentVersion).toBe(2);
    const cluster = Root.Children['0'].Children;
    expect(Object.keys(cluster.members.Children)).toEqual(['a', 'b']);
    const { attributes, raftAttributes } = cluster.members.Children.a.Children;
    expect([attributes.Path, attributes.Value]).toEqual([
      '/0/members/a/attributes',
      '{"name":"m1","clientURLs":["http://a:2379"]}',
    ]);
    expect(raftAttributes.Value).toBe('{"peerURLs":["http://a:2380"]}');
    // One that has never started says nothing of itself.
    expect(Object.keys(cluster.members.Children.b.Children)).toEqual(['raftAttributes']);
    expect(cluster.members.Children.b.Children.raftAttributes.Value).toBe(
      '{"peerURLs":["http://b:2380"],"isLearner":true}',
    );
    expect(cluster.removed_members.Children.c).toMatchObject({
      Path: '/0/removed_members/c',
      Value: '',
      Children: null,
    });
    expect(cluster.version).toMatchObject({ Path: '/0/version', Value: '3.5.0' });
    expect(Root.Children['1']).toMatchObject({ Path: '/1', Children: {} });
  });

  it('is read back, and nothing is read from what is none', () => {
    const encoded = encodeV2Store({ members, removedMembers: [], clusterVersion: undefined });
    expect([...decodeV2Attributes(encoded)]).toEqual([[0xan, { name: 'm1', clientUrls: ['http://a:2379'] }]]);
    for (const other of ['', '{}', '[1]', '{"Root":{"Children":null}}']) {
      expect(decodeV2Attributes(Buffer.from(other)).size).toBe(0);
    }
  });
});
