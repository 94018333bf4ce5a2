/** The profile `bundled` of docker-compose.yml, as processes: the client's suite, then members that restart, then etcd in their place. */
import { afterAll, beforeAll, vi } from 'vitest';
import type * as Fixtures from '../support/fixtures.ts';
import { readCompose } from './compose-file.ts';
import { ComposeProject } from './compose-up.ts';
import { defineMoveToEtcd, defineRestarts } from './restarts.ts';

const running = vi.hoisted(() => ({ project: undefined as ComposeProject | undefined }));

function project(): ComposeProject {
  if (running.project === undefined) throw new Error('the project is started in beforeAll');
  return running.project;
}

vi.mock('../support/fixtures.ts', async (importOriginal) => {
  const fixtures = await importOriginal<typeof Fixtures>();
  const { onCompose } = await import('./conformance.ts');
  return { ...fixtures, describeOnEtcd: onCompose(project, fixtures.uniquePrefix) };
});

beforeAll(async () => {
  running.project = await ComposeProject.up(await readCompose(), ['bundled']);
});
afterAll(async () => {
  await running.project?.[Symbol.asyncDispose]();
});

await import('../conformance/range.etcd.test.ts');
await import('../conformance/txn.etcd.test.ts');
await import('../conformance/write.etcd.test.ts');
defineRestarts(project);
defineMoveToEtcd(project);
