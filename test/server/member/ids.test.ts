import { describe, expect, it } from 'vitest';
import { clusterIdOf, memberIdOf } from '../../../src/server/member/ids.ts';

describe('ids', () => {
  it('are those that etcd 3.5 makes', () => {
    const member = memberIdOf(['http://127.0.0.1:38270'], 'etcd-cluster');
    expect(member).toBe(677_973_744_386_378_953n);
    expect(clusterIdOf([member])).toBe(11_114_678_156_287_100_233n);
  });

  it('are the same in whatever order addresses and members come', () => {
    expect(memberIdOf(['http://b:1', 'http://a:1'], 't')).toBe(memberIdOf(['http://a:1', 'http://b:1'], 't'));
    expect(clusterIdOf([2n ** 63n, 1n, 10n])).toBe(clusterIdOf([10n, 2n ** 63n, 1n]));
  });

  it('differ by token', () => {
    expect(memberIdOf(['http://a:1'], 'one')).not.toBe(memberIdOf(['http://a:1'], 'two'));
  });
});
