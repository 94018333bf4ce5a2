/**
 * The client's suite on what docker-compose.yml starts. A test file mocks `describeOnEtcd` with {@link onCompose} and
 * imports the suite's files: they are the same that run on etcd.
 */
import { describe } from 'vitest';
import type { EtcdSuite } from '../support/fixtures.ts';
import type { ComposeProject } from './compose-up.ts';

/** A stand-in for `describeOnEtcd`: the suite once, on a project that runs by the time its tests do. */
export function onCompose(
  project: () => ComposeProject,
  prefix: () => string,
): (name: string, define: (suite: EtcdSuite) => void) => void {
  return (name, define) => {
    const cluster = {
      get endpoints(): string[] {
        return project().endpoints;
      },
      get members(): { address: string; clientUrl: string }[] {
        return project().endpoints.map((address) => ({ address, clientUrl: `http://${address}` }));
      },
    };
    // Only what the chosen files use of a cluster: where its members are.
    const suite = { version: '3.5', size: 3, cluster, prefix } as unknown as EtcdSuite;
    describe(name, () => define(suite));
  };
}
