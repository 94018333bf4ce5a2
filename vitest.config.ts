/**
 * Four suites. `unit` needs nothing but Node, and `long` neither, but it takes too long for the inner loop: processes,
 * thousands of runs. `etcd` runs against real etcd servers, which
 * its global set-up fetches. `package` needs `npm run build` and looks at what is published.
 */
import { defineConfig } from 'vitest/config';

const onEtcd = ['test/**/*.etcd.test.ts', 'test/support-tests/**/*.test.ts'];
const onPackage = ['test/package/**/*.test.ts'];
const long = ['test/**/*.long.test.ts'];

export default defineConfig({
  // Examples and the documents' code import the package by its name.
  resolve: { tsconfigPaths: true },
  test: {
    // A CommonJS package is imported as Node imports it.
    deps: { interopDefault: false },
    // Who waits for something to come about waits for it, and not for what a machine that is idle takes.
    expect: { poll: { timeout: 30_000 } },
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: [...onEtcd, ...onPackage, ...long],
          // The files share what they import, in each worker: a third of the time went into loading it anew.
          isolate: false,
          // For what hangs. Nothing here waits for time to pass, but a machine may be busy.
          testTimeout: 60_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'long',
          include: long,
          testTimeout: 120_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'etcd',
          include: onEtcd,
          globalSetup: ['test/global-setup.ts'],
          // Each file starts servers of its own, and what they are tested for is often about time.
          maxWorkers: 2,
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'package',
          include: onPackage,
          fileParallelism: false,
          testTimeout: 180_000,
          hookTimeout: 300_000,
        },
      },
    ],
  },
});
