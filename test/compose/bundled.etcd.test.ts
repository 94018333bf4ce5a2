/** The profile `bundled` of docker-compose.yml, as processes: the client's suite, then members that restart, then etcd in their place. */
import { vi } from 'vitest';
import { defineMoveToEtcd, defineRestarts } from './restarts.ts';
import { project, runProfile } from './suite.ts';

vi.mock('../support/fixtures.ts', async (importOriginal) => {
  const { fixturesOnProject } = await import('./suite.ts');
  return fixturesOnProject(importOriginal);
});

runProfile('bundled');

await import('../conformance/range.etcd.test.ts');
await import('../conformance/txn.etcd.test.ts');
await import('../conformance/write.etcd.test.ts');
defineRestarts(project);
defineMoveToEtcd(project);
