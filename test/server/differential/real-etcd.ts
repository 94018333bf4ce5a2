/** Whether there is a real etcd 3.5 to compare with. In CI it is an error if not: a test that was skipped has shown nothing. */
import { ensureEtcd } from '../../../scripts/etcd.ts';

export const hasRealEtcd: boolean = await ensureEtcd('3.5').then(
  () => true,
  (error: Error) => {
    if (process.env.CI) throw error;
    console.warn(`skipping what compares with a real etcd: ${error.message}`);
    return false;
  },
);
