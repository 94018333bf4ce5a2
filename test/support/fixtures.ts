/** Suites that run against every real etcd the project supports, and against its own server. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe } from 'vitest';
import { type EtcdRelease, type EtcdVersion, ensureEtcd } from '../../scripts/etcd.ts';
import { EtcdCluster, type EtcdClusterOptions } from './etcd-cluster.ts';

/** Every etcd release line that the project supports. */
export const versions = ['3.4', '3.5'] as const satisfies readonly EtcdRelease[];

/** What `ETCDKIT_VERSIONS` says that suites are to run against, such as `3.5,bundled`. */
const asked: readonly EtcdVersion[] | undefined = process.env.ETCDKIT_VERSIONS?.split(',').map(versionNamed);

/** Everything that there is. */
const everything: readonly EtcdVersion[] = [...versions, 'bundled'];

/** Starting a cluster retries on its own; this is only the last resort. */
const START_TIMEOUT_MS = 90_000;

/** What a suite on etcd gets. */
export interface EtcdSuite {
  readonly version: EtcdVersion;
  readonly size: 1 | 3;
  /** One for the whole suite. There from `beforeAll` on: use it in hooks and tests, not while tests are defined. */
  readonly cluster: EtcdCluster;
  /** A key prefix (`…/`) that nothing else has used; call it once in each test. */
  prefix(): string;
}

/** Everything a cluster can be started with, and which suites to make of it. */
export interface EtcdSuiteOptions extends Omit<EtcdClusterOptions, 'version' | 'members'> {
  /** Cluster sizes to run on, each a suite of its own. Default: one member. */
  members?: 1 | 3 | readonly (1 | 3)[];
  /** Only those of what suites run against; the bundled server counts as a 3.5. Default: all. */
  versions?: readonly EtcdRelease[];
  /**
   * Runs the suites at the same time, the tests of each in turn: for tests that mostly wait for time to pass. What
   * vitest has for the one test that runs, such as `onTestFinished`, they must take from their context. Default: no.
   */
  atOnce?: boolean;
}

/** Why a version can't be had. In CI that is an error at once: a suite that was skipped there has tested nothing. */
const unavailable = new Map<EtcdVersion, string>();
for (const version of everything) {
  try {
    await ensureEtcd(version);
  } catch (error) {
    if (process.env.CI) throw error;
    unavailable.set(version, (error as Error).message);
  }
}

function versionNamed(name: string): EtcdVersion {
  if (name === 'bundled' || name === '3.4' || name === '3.5') return name;
  throw new Error(`ETCDKIT_VERSIONS: there is no version "${name}"`);
}

/** A key prefix that nothing else has used. */
export function uniquePrefix(): string {
  return `test-${randomBytes(6).toString('hex')}/`;
}

/**
 * Defines a suite once for each version and size, with one shared cluster each; `ETCDKIT_VERSIONS` chooses among the
 * versions. Where an etcd can't be had the suite is skipped with the reason on the console; in CI importing this module
 * fails instead.
 */
export function describeOnEtcd(name: string, define: (suite: EtcdSuite) => void, options?: EtcdSuiteOptions): void {
  defineSuites(asked ?? everything, name, define, options);
}

/**
 * The same without the bundled server, unless it is asked for: for what takes long, or is about the client's process
 * and no server, and for what compares with etcd.
 */
export function describeOnRealEtcd(name: string, define: (suite: EtcdSuite) => void, options?: EtcdSuiteOptions): void {
  defineSuites(asked ?? versions, name, define, options);
}

function defineSuites(
  chosen: readonly EtcdVersion[],
  name: string,
  define: (suite: EtcdSuite) => void,
  { members = 1, versions: suited = versions, atOnce = false, ...clusterOptions }: EtcdSuiteOptions = {},
): void {
  const sizes = typeof members === 'number' ? [members] : members;
  for (const version of chosen) {
    if (!suited.includes(version === 'bundled' ? '3.5' : version)) continue;
    for (const size of sizes) {
      const reason = unavailable.get(version);
      if (reason !== undefined) console.warn(`skipping "${name}": ${reason}`);
      const title = `${name} [etcd ${version}${sizes.length > 1 || size > 1 ? `, ${size} member(s)` : ''}]`;
      describe.skipIf(reason !== undefined)(title, atOnce ? { concurrent: true } : {}, () => {
        let cluster: EtcdCluster | undefined;
        beforeAll(async () => {
          cluster = await EtcdCluster.start({ ...clusterOptions, version, members: size });
        }, START_TIMEOUT_MS);
        afterAll(async () => {
          await cluster?.[Symbol.asyncDispose]();
          // Tests may well pass although: clients go on once a server is back, and some end before they miss it.
          for (const { name: member, crash, log } of cluster?.members ?? []) {
            if (crash !== undefined) throw new Error(`etcd member ${member} crashed (${crash}):\n${log}`);
          }
        });
        const suite: EtcdSuite = {
          version,
          size,
          get cluster() {
            if (!cluster) throw new Error('the cluster is started in beforeAll: use it in hooks and tests');
            return cluster;
          },
          prefix: uniquePrefix,
        };
        if (atOnce) describe.sequential('in turn', () => define(suite));
        else define(suite);
      });
    }
  }
}
