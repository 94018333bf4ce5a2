/**
 * Replays traces of etcd's raft library on the core.
 *
 * Usage: `npm run traces -- DIR [SEED]`. Every `.txt` below DIR is replayed; SEED, a whole number and 1 by default,
 * draws the election timeouts. A file that fails is followed by what differs: `-` was expected, `+` came. The last line
 * is `N passed, N failed`; the exit code is 1 if a file failed or there was none.
 *
 * @module
 */
import { runTraceFile, traceFiles } from '../test/server/raft/traces/run.ts';

const [directory, seed = '1', ...more] = process.argv.slice(2);
if (directory === undefined || more.length > 0 || !/^\d+$/.test(seed)) {
  console.error('usage: npm run traces -- DIR [SEED]');
  process.exit(1);
}

function filesBelow(root: string): readonly string[] {
  try {
    return traceFiles(root);
  } catch (cause) {
    console.error(cause instanceof Error ? cause.message : cause);
    return [];
  }
}

let passed = 0;
let failed = 0;
for (const file of filesBelow(directory)) {
  const { failure } = runTraceFile(file, { seed: Number(seed) });
  if (failure === undefined) passed += 1;
  else failed += 1;
  console.log(failure === undefined ? `ok ${file}` : `FAILED ${file}\n${failure}`);
}
console.log(`${passed} passed, ${failed} failed`);
if (failed > 0 || passed === 0) process.exitCode = 1;
