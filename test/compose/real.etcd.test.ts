/**
 * The profile `etcd` of docker-compose.yml, as processes: the client's suite, then members that restart.
 *
 * Of the suite only what three members of etcd stand: for a transaction that writes and also reads at a revision that
 * is compacted or to come, etcd 3.4 and 3.5 answer with an error, yet apply the writes on the members that were not
 * asked, which skip its reads. range.etcd.test.ts and txn.etcd.test.ts send such ones.
 */
import { afterAll, beforeAll, vi } from 'vitest';
import type * as Fixtures from '../support/fixtures.ts';
import { readCompose } from './compose-file.ts';
import { ComposeProject } from './compose-up.ts';
import { defineRestarts } from './restarts.ts';

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
  running.project = await ComposeProject.up(await readCompose(), ['etcd']);
});
afterAll(async () => {
  await running.project?.[Symbol.asyncDispose]();
});

await import('../conformance/write.etcd.test.ts');
defineRestarts(project);
