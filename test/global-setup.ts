/**
 * Runs once before the suites that need a real etcd: fetches both versions, so that the
 * test files find them and do not fetch at the same time.
 */
import { ensureEtcd, etcdVersions } from '../scripts/etcd.ts';

export async function setup(): Promise<void> {
  for (const version of etcdVersions) {
    try {
      await ensureEtcd(version);
    } catch (error) {
      // In CI a suite that was skipped would look like one that passed.
      if (process.env.CI) throw error;
      console.warn((error as Error).message);
    }
  }
}
