/** Publishing, history, roll-back and candidates, on a server in this process. */
import { describe, expect, it } from 'vitest';
import YAML from 'yaml';
import { Config } from '../../../recipes/config/config.ts';
import { ConfigConflictError, ConfigError } from '../../../recipes/config/errors.ts';
import { CompactedError, type Revision } from '../../../src/index.ts';
import { bed, KEY, Limits, nextValue } from './bed.ts';

describe('publishing', () => {
  it('writes text that anybody can read, and says who and why', async () => {
    const { limits, etcd } = await bed({ author: 'ada' });
    const revision = await limits.publish({ perSecond: 5 }, { message: 'to begin with' });
    expect(await limits.read()).toEqual({ value: { perSecond: 5 }, revision });
    expect(JSON.parse((await etcd.get(KEY))?.value ?? '')).toEqual({ perSecond: 5 });
    const { versions } = await limits.history();
    expect(versions).toHaveLength(1);
    expect(versions[0]).toMatchObject({ revision, message: 'to begin with', isCurrent: true, isKept: true });
    expect(versions[0]?.by?.owner).toBe('ada');
  });

  it('refuses what does not fit, and says where and not what', async () => {
    const { limits, etcd } = await bed();
    const error: unknown = await limits.publish({ perSecond: -4242 }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ConfigError);
    expect(error).toMatchObject({ problem: 'schema', paths: ['perSecond'] });
    expect(String(error)).not.toContain('4242');
    expect(await etcd.get(KEY)).toBeUndefined();
  });

  it('replaces what was expected, or nothing', async () => {
    const { limits } = await bed();
    const first = await limits.publish({ perSecond: 1 }, { expected: 0n });
    await expect(limits.publish({ perSecond: 2 }, { expected: 0n })).rejects.toMatchObject({ revision: first });
    const second = await limits.publish({ perSecond: 2 }, { expected: first });
    await expect(limits.publish({ perSecond: 3 }, { expected: first })).rejects.toThrow(ConfigConflictError);
    expect(await limits.read()).toEqual({ value: { perSecond: 2 }, revision: second });
  });

  it('loses nobody among many who publish at once', async () => {
    const { limits } = await bed({ keep: 100 });
    const revisions = await Promise.all([1, 2, 3, 4].map((perSecond) => limits.publish({ perSecond })));
    expect(new Set(revisions).size).toBe(4);
    const { versions } = await limits.history();
    expect(versions.map(({ revision }) => revision)).toEqual([...revisions].sort((a, b) => (a > b ? -1 : 1)));
  });

  it('takes another format', async () => {
    const { etcd } = await bed();
    const limits = new Config(etcd, KEY, { schema: Limits, format: YAML });
    await limits.publish({ perSecond: 5 });
    expect((await etcd.get(KEY))?.value).toBe('perSecond: 5\n');
    expect((await limits.read()).value).toEqual({ perSecond: 5 });
  });

  it('has no names with a mark in them', async () => {
    const { etcd } = await bed();
    expect(() => new Config(etcd, 'config/a#b')).toThrow('#');
  });
});

describe('history and roll-back', () => {
  it('knows each version, those of other tools too', async () => {
    const { limits, operator } = await bed();
    const a = await limits.publish({ perSecond: 1 });
    const { revision: b } = await operator.put(KEY, '{"perSecond":2}');
    const c = await limits.publish({ perSecond: 3 });
    const { versions, compactedBelow, more } = await limits.history();
    expect(versions.map(({ revision, isKept }) => [revision, isKept])).toEqual([
      [c, true],
      [b, true],
      [a, true],
    ]);
    expect(versions.map(({ by }) => by === undefined)).toEqual([false, true, false]);
    expect([compactedBelow, more]).toEqual([undefined, false]);
  });

  it('outlives compaction for what was kept, and says what may be missing', async () => {
    const { limits, operator } = await bed();
    const a = await limits.publish({ perSecond: 1 }, { message: 'one' });
    const { revision: lost } = await operator.put(KEY, '{"perSecond":2}');
    const { revision: b } = await operator.put(KEY, '{"perSecond":3}');
    const c = await limits.publish({ perSecond: 4 });
    await operator.compact(c);
    const { versions, compactedBelow } = await limits.history();
    // The one in between was written and replaced by another tool, which kept nothing.
    expect(versions.map(({ revision }) => revision)).toEqual([c, b, a]);
    expect(compactedBelow).toBe(c);
    await expect(limits.rollBack(lost)).rejects.toThrow(CompactedError);
    expect((await limits.version(a))?.message).toBe('one');
    const d = await limits.rollBack(b);
    expect(await limits.read()).toEqual({ value: { perSecond: 3 }, revision: d });
    expect((await limits.history()).versions[0]?.message).toBe(`roll-back to ${b}`);
  });

  it('rolls back to any revision at which a version was in force', async () => {
    const { limits, operator } = await bed();
    await limits.publish({ perSecond: 1 });
    const { revision } = await operator.put('something/else', 'x');
    await limits.publish({ perSecond: 2 });
    await limits.rollBack(revision);
    expect((await limits.read()).value).toEqual({ perSecond: 1 });
    await expect(limits.rollBack(1n as Revision)).rejects.toMatchObject({ problem: 'missing' });
  });

  it('rolls back to nothing that does not fit today', async () => {
    const { limits, operator } = await bed();
    const { revision } = await operator.put(KEY, '{"perSecond":"many"}');
    await limits.publish({ perSecond: 2 });
    await expect(limits.rollBack(revision)).rejects.toMatchObject({ problem: 'schema' });
    await expect(limits.rollBack(revision, { expected: 1n as Revision })).rejects.toThrow(ConfigError);
  });

  it('keeps as many versions as it is told', async () => {
    const { limits, etcd, operator } = await bed({ keep: 2 });
    const revisions: Revision[] = [];
    for (const perSecond of [1, 2, 3, 4, 5]) revisions.push(await limits.publish({ perSecond }));
    expect(await etcd.count({ prefix: `${KEY}#versions/` })).toBe(2);
    await operator.compact(revisions[4] as Revision);
    const { versions } = await limits.history();
    expect(versions.map(({ revision }) => revision)).toEqual([revisions[4], revisions[3], revisions[2]]);
    const none = new Config(etcd, KEY, { schema: Limits, keep: 0 });
    await none.publish({ perSecond: 6 });
    expect(await etcd.count({ prefix: `${KEY}#versions/` })).toBe(0);
  });
});

describe('a candidate', () => {
  it('is for a share, and for all when it is promoted', async () => {
    const { limits } = await bed();
    await limits.publish({ perSecond: 1 });
    await limits.stage({ perSecond: 2 }, { share: 100, message: 'faster' });
    await using tries = await limits.open({ instance: 'a' });
    expect([tries.value, tries.source]).toEqual([{ perSecond: 2 }, 'staged']);
    const back = nextValue(tries);
    await limits.setShare(0);
    expect([await back, tries.source]).toEqual([{ perSecond: 1 }, 'published']);
    expect(await limits.staged()).toMatchObject({ value: { perSecond: 2 }, share: 0, message: 'faster' });
    const forth = nextValue(tries);
    const revision = await limits.promote();
    expect([await forth, tries.source, tries.revision]).toEqual([{ perSecond: 2 }, 'published', revision]);
    expect(await limits.staged()).toBeUndefined();
    expect((await limits.history()).versions[0]?.message).toBe('faster');
  });

  it('does not flap where it is in use when it is promoted', async () => {
    const { limits, operator } = await bed();
    await limits.publish({ perSecond: 1 });
    await limits.stage({ perSecond: 2 }, { share: 100 });
    await using live = await limits.open({ instance: 'a' });
    const values: unknown[] = [];
    live.onChange((value) => void values.push(value));
    await limits.promote();
    const last = nextValue(live);
    await operator.put(KEY, '{"perSecond":3}');
    await last;
    expect(values).toEqual([{ perSecond: 3 }]);
  });

  it('that is wrong changes nothing but the error', async () => {
    const { limits, operator } = await bed();
    await limits.publish({ perSecond: 1 });
    await limits.stage({ perSecond: 2 }, { share: 100 });
    const record = JSON.parse((await operator.get(`${KEY}#staged`))?.value ?? '') as object;
    const { revision } = await operator.put(`${KEY}#staged`, JSON.stringify({ ...record, value: '{"perSecond":"x"}' }));
    await using live = await limits.open({ instance: 'a' });
    expect(live.value).toEqual({ perSecond: 1 });
    expect(live.lastError).toMatchObject({ problem: 'schema', revision });
  });

  it('keeps others from publishing until it is promoted or abandoned', async () => {
    const { limits } = await bed();
    const first = await limits.publish({ perSecond: 1 });
    await limits.stage({ perSecond: 2 }, { share: 10 });
    await expect(limits.publish({ perSecond: 3 })).rejects.toThrow('a candidate is staged');
    await limits.abandon();
    await limits.abandon();
    await expect(limits.promote()).rejects.toThrow('no candidate is staged');
    await limits.publish({ perSecond: 3 });
    await limits.stage({ perSecond: 4 }, { share: 10 });
    await limits.rollBack(first, { staged: 'abandon' });
    expect(await limits.staged()).toBeUndefined();
    expect((await limits.read()).value).toEqual({ perSecond: 1 });
  });
});
