/** The config centre on real etcd: one way through everything that it asks of a server. */
import { expect, it } from 'vitest';
import { Config } from '../../../recipes/config/config.ts';
import { Etcd } from '../../../src/index.ts';
import { describeOnEtcd } from '../../support/fixtures.ts';
import { Limits, nextError, nextValue } from './bed.ts';

describeOnEtcd('a configuration', (suite) => {
  it('is published, tried, followed, kept over a compaction, and rolled back', async () => {
    await using etcd = new Etcd({ endpoints: suite.cluster.endpoints });
    const limits = new Config(etcd, `${suite.prefix()}limits`, { schema: Limits, keep: 2 });
    const first = await limits.publish({ perSecond: 1 }, { expected: 0n });
    await using live = await limits.open({ instance: 'a' });
    const tried = nextValue(live);
    await limits.stage({ perSecond: 2 }, { share: 100 });
    expect([await tried, live.source]).toEqual([{ perSecond: 2 }, 'staged']);
    const second = await limits.promote();
    const wrong = nextError(live);
    await etcd.put(limits.key, 'wrong');
    expect(await wrong).toMatchObject({ problem: 'format' });
    const third = await limits.publish({ perSecond: 3 });
    await etcd.compact(third);
    // The tool that wrote the wrong one kept nothing; the next publication has kept both.
    expect((await limits.history()).versions.map(({ revision }) => revision)).toEqual([third, third - 1n, second]);
    await expect(limits.rollBack(first)).rejects.toMatchObject({ code: 'compacted' });
    const back = nextValue(live);
    await limits.rollBack(second);
    expect(await back).toEqual({ perSecond: 2 });
    expect((await limits.read()).value).toEqual({ perSecond: 2 });
  });
});
