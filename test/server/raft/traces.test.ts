/**
 * Replays the traces of etcd's raft library, and those that we wrote for what they don't use. Compared are the protocol's
 * facts, roles, terms and configurations as they change, and what is dropped in silence: see `traces/normalise.ts`.
 */
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { runTraceFile, traceFiles } from './traces/run.ts';

const ETCD = path.join(import.meta.dirname, 'testdata');
const OWN = path.join(import.meta.dirname, 'traces', 'own');
const SEEDS = Array.from({ length: 12 }, (_, nth) => nth + 1);

describe.each([
  { of: 'traces of etcd', directory: ETCD, files: 31 },
  { of: 'traces of our own', directory: OWN, files: 16 },
])('$of', ({ directory, files }) => {
  const found = traceFiles(directory).map((file) => ({ file, name: path.relative(directory, file) }));

  it('are all there', () => {
    expect(found).toHaveLength(files);
  });

  it.each(found)('$name', ({ file }) => {
    const { passed, failure } = runTraceFile(file, { seed: 1 });
    expect(failure).toBeUndefined();
    expect(passed).toBeGreaterThan(0);
  });

  it.each(SEEDS)('do not depend on election timeouts: seed %i', (seed) => {
    const failures = found.map(({ file }) => runTraceFile(file, { seed }).failure).filter(Boolean);
    expect(failures).toEqual([]);
  });
});
