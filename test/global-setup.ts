/**
 * Runs once before the suites that need servers: fetches both versions of etcd, so that the test files find them and do
 * not fetch at the same time, and makes plain JavaScript of the bundled server, so that no start of it reads TypeScript.
 */
import { BUNDLED_VARIABLE, ensureEtcd, etcdVersions } from '../scripts/etcd.ts';
import { buildServer, type ServerBuild } from './support/server-build.ts';

let build: ServerBuild | undefined;

export async function setup(): Promise<void> {
  build = buildServer();
  process.env[BUNDLED_VARIABLE] = build.main;
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

export function teardown(): void {
  build?.[Symbol.dispose]();
}
