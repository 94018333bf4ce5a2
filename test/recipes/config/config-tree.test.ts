/** Many configurations below a prefix: each for itself. */
import { expect, it } from 'vitest';
import { ConfigTree } from '../../../recipes/config/config-tree.ts';
import { bed, Limits } from './bed.ts';

async function tree() {
  const { etcd, operator } = await bed();
  const routes = new ConfigTree(etcd, 'routes/', { schema: Limits });
  await routes.config('a').publish({ perSecond: 1 });
  await routes.config('b/c').publish({ perSecond: 2 });
  return { routes, operator };
}

it('has a value for each name, whatever else stands there', async () => {
  const { routes, operator } = await tree();
  await routes.config('a').publish({ perSecond: 3 });
  await operator.put('routes/wrong', 'x');
  await operator.put('routes-other/d', '{"perSecond": 4}');
  await using live = await routes.open();
  expect(live.names).toEqual(['a', 'b/c']);
  expect(live.get('a')?.value).toEqual({ perSecond: 3 });
  expect([...live.errors]).toMatchObject([['wrong', { problem: 'format', key: 'routes/wrong' }]]);
});

it('keeps the last good value of the one that becomes wrong, and follows the others', async () => {
  const { routes, operator } = await tree();
  await using live = await routes.open();
  const changes = live.changes();
  await operator.put('routes/a', '{"perSecond": "s3cret"}');
  await operator.put('routes/b/c', '{"perSecond": 5}');
  expect((await changes.next()).value).toMatchObject({ name: 'b/c', current: { perSecond: 5 } });
  expect(live.get('a')?.value).toEqual({ perSecond: 1 });
  expect([...live.errors.keys()]).toEqual(['a']);
  await operator.delete('routes/a');
  expect((await changes.next()).value).toEqual({ name: 'a', current: undefined, previous: { perSecond: 1 } });
  expect([live.names, live.errors.size]).toEqual([['b/c'], 0]);
});

it('has candidates, of which those who do not try them see nothing', async () => {
  const { routes } = await tree();
  await using live = await routes.open({ instance: 'i' });
  const changes = live.changes();
  await routes.config('new').stage({ perSecond: 7 }, { share: 0 });
  await routes.config('a').stage({ perSecond: 8 }, { share: 100 });
  expect((await changes.next()).value).toMatchObject({ name: 'a', current: { perSecond: 8 } });
  expect([live.names, live.errors.size]).toEqual([['a', 'b/c'], 0]);
  await routes.config('new').setShare(100);
  expect((await changes.next()).value).toMatchObject({ name: 'new', current: { perSecond: 7 } });
  await routes.config('new').abandon();
  expect((await changes.next()).value).toMatchObject({ name: 'new', current: undefined });
});

it('is there when it is empty, and not when etcd is not', async () => {
  const { operator, server } = await bed();
  await using live = await new ConfigTree(operator, 'none/').open();
  expect(live.names).toEqual([]);
  server.members[0]?.refuseClients();
  server.members[0]?.dropClients();
  await expect(new ConfigTree(operator, 'none/').open({ timeoutMs: 100 })).rejects.toMatchObject({
    code: 'wait-timeout',
  });
});
