import { expect, it } from 'vitest';
import { TestCluster } from '../../src/testing/index.ts';
import { expectProcessExits, snapshotResources } from '../support/leaks.ts';

it('leaves nothing behind, however often it starts and ends', async () => {
  const once = async (kill: boolean): Promise<void> => {
    await using cluster = await TestCluster.start();
    await cluster.client().put('a', '1');
    if (kill) await (await cluster.waitForLeader()).kill();
  };
  await once(true);
  const resources = snapshotResources();
  for (let round = 0; round < 50; round += 1) await once(round % 2 === 0);
  await resources.expectNothingAdded();
});

it('does not keep its process alive, closed or not', async () => {
  const { stdout } = await expectProcessExits('test/testing/programs/left-open.ts');
  expect(stdout).toBe('hello\n');
});
