/** What a server makes of what it finds, and what it says about it. */
import { readdirSync } from 'node:fs';
import { open, rename, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { Etcd } from '../../src/index.ts';
import { EtcdServer, type EtcdServerOptions, restoreSnapshot } from '../../src/server/index.ts';
import type { ServerLog } from '../../src/server/log.ts';
import { TempFolder } from '../support/lifeline.ts';

interface Line {
  readonly level: string;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** A log that is kept. */
function recorder(): { log: ServerLog; lines: Line[] } {
  const lines: Line[] = [];
  return {
    lines,
    log: { write: (level, _caller, message, fields = {}) => void lines.push({ level, message, fields }) },
  };
}

function warnings(lines: readonly Line[]): Line[] {
  return lines.filter(({ level }) => level === 'warn');
}

describe('a server on a Unix socket', () => {
  const at = (file: string): EtcdServerOptions => ({
    listen: [{ at: { path: file }, transport: 'plain', serve: 'all' }],
  });

  it('serves there, and tells clients where', async () => {
    await using folder = new TempFolder('etcdkit-socket');
    const file = folder.file('etcd.sock');
    await using server = await EtcdServer.start(at(file));
    expect([server.endpoint, server.clientUrl]).toEqual([file, `unix://${file}`]);
    await using etcd = new Etcd({ endpoints: `unix:${file}` });
    await etcd.put('a', '1');
    expect((await etcd.get('a'))?.value).toBe('1');
    expect((await etcd.cluster.members()).members[0]?.clientUrls).toEqual([`unix://${file}`]);
  });

  it('takes the place of a socket that a killed one has left, and of no other file', async () => {
    await using folder = new TempFolder('etcdkit-socket');
    const file = folder.file('etcd.sock');
    const dead = createServer().listen(file);
    await new Promise((resolve) => dead.once('listening', resolve));
    // Node.js removes the name when it closes; a process that is killed does not.
    await rename(file, `${file}.kept`);
    await new Promise((resolve) => dead.close(resolve));
    await rename(`${file}.kept`, file);
    await using server = await EtcdServer.start(at(file));
    expect(server.endpoint).toBe(file);
    const letter = folder.file('letter.txt');
    await writeFile(letter, 'dear sir');
    await expect(EtcdServer.start(at(letter))).rejects.toThrow('address already in use');
  });
});

describe('a server that comes back', () => {
  it('says that the end of its log was torn, where, and what became of it', async () => {
    await using folder = new TempFolder('etcdkit-torn');
    const dataDir = folder.file('data');
    {
      await using server = await EtcdServer.start({ dataDir });
      await using etcd = new Etcd({ endpoints: server.endpoint });
      await etcd.put('kept', '1');
      await etcd.put('torn', 'x'.repeat(5_000));
    }
    const wal = path.join(dataDir, 'member', 'wal');
    const [name = ''] = readdirSync(wal).filter((file) => file.endsWith('.wal'));
    const file = path.join(wal, name);
    const torn = await tear(file);
    for (const life of [1, 2]) {
      const { log, lines } = recorder();
      await using server = await EtcdServer.start({ dataDir, log });
      await using etcd = new Etcd({ endpoints: server.endpoint });
      expect([(await etcd.get('kept'))?.value, await etcd.get('torn')]).toEqual(['1', undefined]);
      const [warning, ...others] = warnings(lines);
      expect(others).toEqual([]);
      if (life === 2) expect(warning).toBeUndefined();
      else {
        expect(warning?.message).toContain('the end of the log was torn');
        expect(warning?.fields).toEqual({ file, offset: expect.any(Number) as number, copy: `${file}.broken` });
        expect(warning?.fields.offset).toBeLessThan(torn);
      }
    }
    expect(readdirSync(wal)).toContain(`${name}.broken`);
  });

  it('alone from data of three, if it is told to, says whom it has dropped', async () => {
    await using folder = new TempFolder('etcdkit-forced');
    const snapshotFile = folder.file('snapshot.db');
    {
      await using server = await EtcdServer.start();
      await using etcd = new Etcd({ endpoints: server.endpoint });
      await etcd.put('kept', '1');
      const chunks: Uint8Array[] = [];
      for await (const chunk of await etcd.maintenance.snapshot()) chunks.push(chunk);
      await writeFile(snapshotFile, Buffer.concat(chunks));
    }
    const dataDir = folder.file('data');
    const initialCluster = new Map(['a', 'b', 'c'].map((name) => [name, [`http://${name}:2380`]]));
    const restored = await restoreSnapshot({ snapshotFile, dataDir, name: 'a', initialCluster });
    for (const forceNewCluster of [true, false]) {
      const { log, lines } = recorder();
      await using server = await EtcdServer.start({ dataDir, name: 'a', forceNewCluster, log });
      await using etcd = new Etcd({ endpoints: server.endpoint });
      expect((await etcd.get('kept'))?.value).toBe('1');
      await etcd.put('more', '1');
      expect(server.ids).toEqual({ memberId: restored.memberId, clusterId: restored.clusterId });
      expect((await etcd.cluster.members()).members.map(({ id }) => id)).toEqual([restored.memberId]);
      const dropped = lines.find(({ message }) => message.startsWith('forcing a new cluster'));
      expect(dropped !== undefined).toBe(forceNewCluster);
      if (forceNewCluster) expect(dropped?.fields['removed-members']).toHaveLength(2);
    }
  });
});

describe('a server', () => {
  it('says what was slow to apply, and measures calls, if it was told to', async () => {
    const { log, lines } = recorder();
    await using server = await EtcdServer.start({ log, slowApplyMs: -1, extensiveMetrics: true });
    await using etcd = new Etcd({ endpoints: server.endpoint });
    await etcd.put('secret key', 'secret value');
    const slow = warnings(lines).filter(({ message }) => message === 'apply request took too long');
    expect(slow.at(-1)?.fields).toMatchObject({ request: 'put', 'expected-duration': '-1ms' });
    expect(JSON.stringify(slow)).not.toContain('secret');
    const metrics = await (await fetch(`${server.clientUrl}/metrics`)).text();
    const put = 'grpc_service="etcdserverpb.KV",grpc_method="Put",grpc_type="unary"';
    expect(metrics).toContain(`grpc_server_handling_seconds_count{${put}} 1\n`);
    expect(metrics).toContain('etcd_server_apply_duration_seconds_count{version="v3",op="Put",success="true"} 1\n');
    expect(metrics).toContain('etcd_mvcc_put_total 1\n');
    expect(metrics).toContain('etcd_server_leader_changes_seen_total 1\n');
  });

  it('lets in as many learners as it was told', async () => {
    await using server = await EtcdServer.start({ maxLearners: 2, strictReconfigCheck: false });
    await using etcd = new Etcd({ endpoints: server.endpoint });
    const add = (port: number): Promise<unknown> =>
      etcd.cluster.add({ peerUrls: [`http://127.0.0.1:${port}`], learner: true });
    await add(1);
    await add(2);
    await expect(add(3)).rejects.toThrow('too many learner members');
  });
});

/** Makes zeros of a sector in the middle of the last record. @returns Where. */
async function tear(file: string): Promise<number> {
  const handle = await open(file, 'r+');
  try {
    const bytes = await handle.readFile();
    const middle = bytes.lastIndexOf(Buffer.alloc(2_000, 'x'));
    const sector = Math.ceil(middle / 512) * 512;
    await handle.write(Buffer.alloc(512), 0, 512, sector);
    return sector;
  } finally {
    await handle.close();
  }
}
