/** What the suites of the profiles share: the project that runs, for as long as a file's tests do. */
import { afterAll, beforeAll } from 'vitest';
import type * as Fixtures from '../support/fixtures.ts';
import { readCompose } from './compose-file.ts';
import { ComposeProject } from './compose-up.ts';

let running: ComposeProject | undefined;

/** The project of {@link runProfile}; there in hooks and tests. */
export function project(): ComposeProject {
  if (running === undefined) throw new Error('the project is started in beforeAll');
  return running;
}

/** Starts a profile of docker-compose.yml before the tests of this file, and ends it after them. */
export function runProfile(profile: string): void {
  beforeAll(async () => {
    running = await ComposeProject.up(await readCompose(), [profile]);
  });
  afterAll(async () => {
    await running?.[Symbol.asyncDispose]();
  });
}

/** The fixtures of the client's suite, with the project in the place of clusters of their own: for `vi.mock`. */
export async function fixturesOnProject(importOriginal: () => Promise<unknown>): Promise<typeof Fixtures> {
  const fixtures = (await importOriginal()) as typeof Fixtures;
  const { onCompose } = await import('./conformance.ts');
  return { ...fixtures, describeOnEtcd: onCompose(project, fixtures.uniquePrefix) };
}
