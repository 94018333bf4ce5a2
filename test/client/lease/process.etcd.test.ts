/** What only a whole process shows: a blocked event loop, and what keeps a process alive. */
import path from 'node:path';
import { expect, it } from 'vitest';
import { describeOnRealEtcd } from '../../support/fixtures.ts';
import { expectProcessExits } from '../../support/leaks.ts';

const child = (name: string): string => path.join(import.meta.dirname, 'children', name);

describeOnRealEtcd(
  'a process with leases',
  (suite) => {
    it.each([
      ['aborted', true],
      ['reason', 'deadline'],
      ['alive', false],
      ['remainingMs', 0],
      ['assertAlive', 'deadline'],
    ])(
      'learns of the loss from %s, asked first after the event loop was blocked',
      async (question, expected) => {
        const endpoint = suite.cluster.members[0]!.address;
        // Not of one second: on a busy machine that may be gone before the grant is answered.
        const { stdout } = await expectProcessExits(child('blocked.ts'), [endpoint, '2', '2200', question]);
        expect(JSON.parse(stdout)).toEqual({
          firedByItself: false,
          first: expected,
          firedAfterwards: true,
          ttlSeconds: 2,
        });
      },
      30_000,
    );

    it('ends while the clock of a stopped lease still runs', async () => {
      await expectProcessExits(child('stopped.ts'), [suite.cluster.members[0]!.address], { timeoutMs: 20_000 });
    }, 30_000);
  },
  { versions: ['3.5'] },
);
