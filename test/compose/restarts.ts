/** What docs/operations.md says of members that are restarted or replaced in place, on what docker-compose.yml starts. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { ensureEtcd } from '../../scripts/etcd.ts';
import { EtcdError } from '../../src/client/errors.ts';
import { Etcd } from '../../src/client/etcd.ts';
import { probe } from '../support/http-probe.ts';
import { readCompose } from './compose-file.ts';
import type { ComposeProject } from './compose-up.ts';

const run = promisify(execFile);

/** More than elections take; but a cluster that is gone must end the test. */
const MAX_ATTEMPTS = 100;

/** Defines the tests; they are the last of their file, since each member is another process afterwards. */
export function defineRestarts(project: () => ComposeProject): void {
  describe('a rolling restart', () => {
    it('one member at a time: each ends by itself, no write is lost, and its volume has it all', async () => {
      await using etcd = new Etcd({ endpoints: project().endpoints, timeoutMs: 20_000 });
      const { containers } = project();
      expect(containers).toHaveLength(3);
      let written = 0;
      const write = async (): Promise<void> => {
        await etcd.put(`rolling/${written}`, 'v');
        written += 1;
      };
      for (const container of containers) {
        await write();
        // Not SIGKILL, which would be what is left when it does not end in its time.
        expect(await container.stop()).not.toBe('SIGKILL');
        await write();
        container.start();
        await container.healthy();
        await using direct = new Etcd({ endpoints: [container.endpoint], timeoutMs: 20_000 });
        expect(await direct.count({ prefix: 'rolling/' })).toBe(written);
      }
    });
  });
}

/** The way from the bundled server to etcd: each member in turn, on its own data, while clients go on. */
export function defineMoveToEtcd(project: () => ComposeProject): void {
  describe('from the bundled server to etcd', () => {
    it('in place, member by member: no write is lost, and all hold the same in the end', async () => {
      const successors = (await readCompose()).services.filter(({ profiles }) => profiles.includes('etcd'));
      const { containers, endpoints } = project();
      await using etcd = new Etcd({ endpoints, timeoutMs: 20_000 });
      const stop = new AbortController();
      let written = 0;
      const writing = (async () => {
        for (; !stop.signal.aborted; written++) await writeUntilDone(etcd, `move/${written}`);
      })();
      // It is awaited below; what goes wrong before that is said there.
      writing.catch(() => {});
      try {
        for (const [index, container] of containers.entries()) {
          await container.stop();
          container.start(successors[index]);
          await container.healthy();
          const { body } = await probe(`http://${container.endpoint}/version`, { timeoutMs: 5_000 });
          // The bundled server is of a version that no etcd here has.
          expect(JSON.parse(body)).toMatchObject({ etcdserver: (await ensureEtcd('3.5')).version });
        }
      } finally {
        stop.abort();
        await writing;
      }
      expect(written).toBeGreaterThan(0);
      const { revision } = await etcd.put('move/last', 'v');
      const hashes = await hashesAt(endpoints, revision);
      expect(hashes).toHaveLength(3);
      expect(new Set(hashes).size).toBe(1);
      expect(await etcd.count({ prefix: 'move/' })).toBe(written + 1);
    });
  });
}

/** The key is new and has one value, so that writing it again does no harm where nobody knows whether it was written. */
async function writeUntilDone(etcd: Etcd, key: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await etcd.put(key, 'v');
      return;
    } catch (error) {
      if (!(error instanceof EtcdError) || attempt === MAX_ATTEMPTS) throw error;
    }
  }
}

/** The hash of the keys at a revision, of each member, once all have got there. */
async function hashesAt(endpoints: readonly string[], revision: bigint): Promise<number[]> {
  for (const endpoint of endpoints) {
    await using etcd = new Etcd({ endpoints: [endpoint], timeoutMs: 20_000 });
    await etcd.revision();
  }
  const { etcdctl } = await ensureEtcd('3.5');
  const flags = [`--endpoints=${endpoints.join(',')}`, '--write-out=json', `--rev=${revision}`];
  const { stdout } = await run(etcdctl, ['endpoint', 'hashkv', ...flags], { timeout: 20_000 });
  return (JSON.parse(stdout) as { HashKV: { hash: number } }[]).map(({ HashKV }) => HashKV.hash);
}
