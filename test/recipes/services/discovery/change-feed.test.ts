/** What a slow reader is told. */
import { describe, expect, it } from 'vitest';
import { DiscoveryFeed } from '../../../../recipes/services/discovery/change-feed.ts';
import type { Metadata } from '../../../../recipes/services/instance.ts';
import { instance } from './bed.ts';

const [v1, v2, v3] = [1, 2, 3].map((weight) => instance('a1', { weight })) as [
  ReturnType<typeof instance>,
  ReturnType<typeof instance>,
  ReturnType<typeof instance>,
];

describe('a slow reader', () => {
  it('is told of each instance once, from what it knew to what is', async () => {
    const feed = new DiscoveryFeed<Metadata>(() => {});
    feed.tell({ type: 'updated', instance: v2, previous: v1 });
    feed.tell({ type: 'updated', instance: v3, previous: v2 });
    const other = instance('a2');
    feed.tell({ type: 'added', instance: other, previous: undefined });
    expect((await feed.next()).value).toEqual({ type: 'updated', instance: v3, previous: v1 });
    expect((await feed.next()).value).toEqual({ type: 'added', instance: other, previous: undefined });
  });

  it('is told nothing of one that came and went, and of one that came back that it is another', async () => {
    const feed = new DiscoveryFeed<Metadata>(() => {});
    const passing = instance('a9');
    feed.tell({ type: 'added', instance: passing, previous: undefined });
    feed.tell({ type: 'removed', instance: passing, previous: passing });
    feed.tell({ type: 'removed', instance: v1, previous: v1 });
    feed.tell({ type: 'added', instance: v2, previous: undefined });
    expect((await feed.next()).value).toEqual({ type: 'updated', instance: v2, previous: v1 });
    feed.tell({ type: 'removed', instance: v2, previous: v2 });
    expect((await feed.next()).value).toEqual({ type: 'removed', instance: v2, previous: v2 });
  });
});

describe('the end', () => {
  it('comes after what waits, and to all who wait', async () => {
    const feed = new DiscoveryFeed<Metadata>(() => {});
    const waiting = [feed.next(), feed.next()];
    feed.tell({ type: 'added', instance: v1, previous: undefined });
    feed.end(new Error('over'));
    expect(await waiting[0]).toMatchObject({ value: { type: 'added' } });
    await expect(waiting[1]).rejects.toThrow('over');
    expect((await feed.next()).done).toBe(true);
  });

  it('is told to the owner when the reader leaves', async () => {
    let left = 0;
    const feed = new DiscoveryFeed<Metadata>(() => {
      left += 1;
    });
    feed.tell({ type: 'added', instance: v1, previous: undefined });
    for await (const _ of feed) break;
    expect([left, (await feed.next()).done]).toEqual([1, true]);
  });
});
