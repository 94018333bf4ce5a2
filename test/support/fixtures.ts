/** Suites that run against every real etcd the project supports, and against its own server. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe } from 'vitest';
import { type EtcdRelease, type EtcdVersion, ensureEtcd } from '../../scripts/etcd.ts';
import type { ChurnedCluster } from './churn.ts';
import { unfitForChurn, unfitTest } from './churn-suites.ts';
import { EtcdCluster, type EtcdClusterOptions } from './etcd-cluster.ts';

/** Every etcd release line that the project supports. */
export const versions = ['3.4', '3.5'] as const satisfies readonly EtcdRelease[];

/**
 * The seed in `ETCDKIT_CHURN`: suites run on three members, of which one is always in trouble, and each test with the
 * next trouble (churn.ts; `npm run churn`). Whatever sizes a suite asks for; the bundled server alone, unless
 * `ETCDKIT_VERSIONS` says more.
 */
const churnSeed: number | undefined = seedIn(process.env.ETCDKIT_CHURN);

/** Only then: it brings the whole torture along. */
const churn = churnSeed === undefined ? undefined : await import('./churn.ts');

/** What `ETCDKIT_VERSIONS` says that suites are to run against, such as `3.5,bundled`. */
const asked: readonly EtcdVersion[] | undefined =
  process.env.ETCDKIT_VERSIONS?.split(',').map(versionNamed) ?? (churn && ['bundled']);

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

declare module 'vitest' {
  interface TaskMeta {
    /** Under `ETCDKIT_CHURN`: what had befallen whom when the test began, each time that it did. */
    troubles?: string[];
  }
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

function seedIn(text: string | undefined): number | undefined {
  if (text === undefined || /^\d{1,9}$/.test(text)) return text === undefined ? undefined : Number(text);
  throw new Error('ETCDKIT_CHURN takes a seed, a whole number');
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

/**
 * That a write may have been applied is all that is promised when a member stops answering: a test that is told so has
 * not failed, and runs again, under the next trouble.
 */
const ifToldMaybe = {
  count: 4,
  condition: (error: object): boolean => 'applied' in error && error.applied === 'maybe',
};

function defineSuites(
  chosen: readonly EtcdVersion[],
  name: string,
  define: (suite: EtcdSuite) => void,
  options: EtcdSuiteOptions = {},
): void {
  const { members = 1, versions: suited = versions, atOnce = false } = options;
  const sizes = churn !== undefined ? [3 as const] : typeof members === 'number' ? [members] : members;
  const unfit = churn && unfitForChurn(name, options);
  for (const version of chosen) {
    if (!suited.includes(version === 'bundled' ? '3.5' : version)) continue;
    for (const size of sizes) {
      const reason = unavailable.get(version);
      if (reason !== undefined) console.warn(`skipping "${name}": ${reason}`);
      const which = `${name} [etcd ${version}${sizes.length > 1 || size > 1 ? `, ${size} member(s)` : ''}]`;
      const title = unfit === undefined ? which : `${which} (not under churn: ${unfit})`;
      const skipped = reason !== undefined || unfit !== undefined;
      const how = { ...(atOnce && { concurrent: true }), ...(churn && { retry: ifToldMaybe }) };
      describe.skipIf(skipped)(title, how, () => {
        const started = churnSeed === undefined ? clusterOf(options, version, size) : churned(options, version, name);
        const suite: EtcdSuite = {
          version,
          size,
          get cluster() {
            const cluster = started();
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

/** A cluster for the tests of this `describe`. */
function clusterOf(options: EtcdSuiteOptions, version: EtcdVersion, size: 1 | 3): () => EtcdCluster | undefined {
  const { members, versions: suited, atOnce, ...clusterOptions } = options;
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
  return () => cluster;
}

/** The same for `ETCDKIT_CHURN`. */
function churned({ flags }: EtcdSuiteOptions, version: EtcdVersion, name: string): () => EtcdCluster | undefined {
  let cluster: ChurnedCluster | undefined;
  beforeAll(async () => {
    cluster = await churn?.ChurnedCluster.found({ seed: churnSeed ?? 0, name, version, flags });
  }, START_TIMEOUT_MS);
  beforeEach(async ({ task, skip }) => {
    const reason = unfitTest(task.name);
    if (reason !== undefined) skip(reason);
    const trouble = await cluster?.moveOn(skip);
    task.meta.troubles = [...(task.meta.troubles ?? []), trouble ?? 'none'];
  });
  afterAll(async () => {
    await using _ = cluster;
    await cluster?.conclude();
  });
  return () => cluster;
}
