import path from 'node:path';
import { expect, it } from 'vitest';
import { describeOnRealEtcd } from '../../support/fixtures.ts';
import { expectProcessExits } from '../../support/leaks.ts';

describeOnRealEtcd(
  'fifty thousand puts',
  () => {
    // The long form, a million: `npm run soak`.
    it('leave nothing behind in memory', async () => {
      const script = path.join(import.meta.dirname, '../../../scripts/soak.ts');
      const { stdout } = await expectProcessExits(script, [process.env['ETCDKIT_SOAK'] ?? '50000'], {
        timeoutMs: 600_000,
        env: { NODE_OPTIONS: '--expose-gc' },
      });
      expect(JSON.parse(stdout)).toMatchObject({ operations: expect.any(Number), growthKiB: expect.any(Number) });
    }, 600_000);
  },
  { versions: ['3.5'] },
);
