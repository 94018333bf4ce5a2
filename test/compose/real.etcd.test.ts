/**
 * The profile `etcd` of docker-compose.yml, as processes: the client's suite, then members that restart.
 *
 * Of the suite only what three members of etcd stand: for a transaction that writes and also reads at a revision that
 * is compacted or to come, etcd 3.4 and 3.5 answer with an error, yet apply the writes on the members that were not
 * asked, which skip its reads. range.etcd.test.ts and txn.etcd.test.ts send such ones.
 */
import { vi } from 'vitest';
import { defineRestarts } from './restarts.ts';
import { project, runProfile } from './suite.ts';

vi.mock('../support/fixtures.ts', async (importOriginal) => {
  const { fixturesOnProject } = await import('./suite.ts');
  return fixturesOnProject(importOriginal);
});

runProfile('etcd');

await import('../conformance/write.etcd.test.ts');
defineRestarts(project);
