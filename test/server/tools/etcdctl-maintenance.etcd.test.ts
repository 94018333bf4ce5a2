/** etcdctl's member, endpoint, alarm, defrag, snapshot, make-mirror and check on the bundled server, beside etcd. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ensureEtcd } from '../../../scripts/etcd.ts';
import { EtcdCluster } from '../../support/etcd-cluster.ts';
import { versions } from '../../support/fixtures.ts';
import { probe } from '../../support/http-probe.ts';
import { TempFolder } from '../../support/lifeline.ts';
import { Pair, Side } from './pair.ts';

const FORMATS = ['simple', 'json', 'fields', 'table'];

describe.each(versions)('etcdctl %s', (version) => {
  let pair: Pair;
  let folder: TempFolder;

  beforeAll(async () => {
    folder = new TempFolder('etcdkit-tools');
    pair = await Pair.start(version);
  });
  afterAll(async () => {
    await pair?.[Symbol.asyncDispose]();
    await folder?.remove();
  });

  it('lists members', async () => {
    for (const format of FORMATS) await pair.same(['member', 'list', '-w', format]);
    await pair.same(['member', 'list', '--hex', '-w', 'json']);
  });

  it('changes members as far as one of them allows', async () => {
    expect(await pair.bad('member remove 1234')).toContain('member not found');
    expect(await pair.bad('member promote 1234')).toContain('member not found');
    expect(await pair.bad('member promote {member}')).toContain('can only promote a learner member');
    expect(await pair.bad('member update 1234 --peer-urls=http://127.0.0.1:1')).toContain('member not found');
    await pair.bad('member add other --peer-urls={peer}');
    await pair.bad('member add other --peer-urls=nonsense');
    await pair.bad('member add other');
    await pair.bad('member remove nonsense');
    const added = /Member +([0-9a-f]+) added/;
    await pair.naming('learner', 'member add other --learner --peer-urls=http://127.0.0.1:1', added);
    for (const format of ['simple', 'json', 'table']) {
      for (const side of [pair.real, pair.ours]) {
        const { stdout, code } = await side.run(['member', 'list', '-w', format]);
        expect(code).toBe(0);
        expect(side.plain(stdout)).toContain(format === 'json' ? '<learner:10>' : '<learner>');
      }
    }
    expect(await pair.bad('member add third --learner --peer-urls=http://127.0.0.1:2')).toContain('too many learner');
    expect(await pair.bad('member promote {learner}')).toContain('in sync with leader');
    await pair.good('member update {learner} --peer-urls=http://127.0.0.1:3');
    await pair.good('member remove {learner}');
    expect(await pair.bad('member remove {learner}')).toContain('member not found');
    await pair.good('member list');
  });

  it('tells about endpoints', async () => {
    await pair.good('put a 1');
    await pair.good('put b 2');
    await pair.good('del a');
    for (const format of FORMATS) {
      await pair.same(['endpoint', 'hashkv', '-w', format]);
      await pair.same(['endpoint', 'hashkv', '--rev=2', '-w', format]);
      await pair.same(['endpoint', 'health', '-w', format]);
      await pair.same(['endpoint', 'health', '--cluster', '-w', format]);
    }
    await pair.good('endpoint hashkv --cluster');
    await pair.bad('endpoint hashkv --rev=1000');
    for (const side of [pair.real, pair.ours]) {
      for (const format of FORMATS) {
        const { code, stdout } = await side.run(['endpoint', 'status', '--cluster', '-w', format]);
        expect(code).toBe(0);
        expect(side.plain(stdout)).toContain('<client>');
      }
      const { stdout } = await side.run(['endpoint', 'status', '-w', 'json']);
      const [{ Status }] = JSON.parse(stdout) as [{ Status: Record<string, unknown> }];
      expect(Status).toMatchObject({ leader: (Status.header as { member_id: unknown }).member_id });
      // What a client may divide by, or wait for.
      for (const field of ['raftIndex', 'raftTerm', 'raftAppliedIndex', 'dbSize', 'dbSizeInUse']) {
        expect(Status[field], field).toBeGreaterThan(0);
      }
      expect(Status.version).toBe(side.cluster.binaries.version);
    }
    await pair.bad('endpoint status --endpoints=127.0.0.1:1 --dial-timeout=100ms --command-timeout=200ms');
  });

  it('refuses to move the leader to nobody', async () => {
    expect(await pair.bad('move-leader 1234')).toContain('bad leader transferee');
    await pair.same(['move-leader', '{member}']);
    await pair.bad('move-leader nonsense');
  });

  it('defragments, and saves snapshots', async () => {
    for (const words of ['defrag', 'defrag --cluster']) {
      for (const side of [pair.real, pair.ours]) {
        const { code, stdout } = await side.run(words.split(' '));
        expect([code, side.plain(stdout)]).toEqual([0, expect.stringContaining('Finished defragmenting etcd member[')]);
      }
    }
    for (const [name, side] of [
      ['real', pair.real],
      ['ours', pair.ours],
    ] as const) {
      const file = folder.file(`${name}.db`);
      const { code, stdout } = await side.run(['snapshot', 'save', file]);
      expect([code, stdout]).toEqual([0, expect.stringContaining(`Snapshot saved at ${file}`)]);
    }
    // The same keys and rows: what counts them must count as many.
    const statuses = [];
    for (const name of ['real', 'ours']) {
      const { stdout } = await pair.real.run(['snapshot', 'status', folder.file(`${name}.db`), '-w', 'json']);
      statuses.push((JSON.parse(stdout) as { revision: number }).revision);
    }
    expect(statuses[1]).toBe(statuses[0]);
  });

  it('mirrors to an etcd, and from one', async () => {
    for (const [from, to] of [
      [pair.ours, pair.real],
      [pair.real, pair.ours],
    ] as const) {
      await from.run(['put', 'mirror/before', '1']);
      const words = ['make-mirror', '--prefix=mirror/', '--dest-prefix=copy/', to.cluster.members[0]?.address ?? ''];
      await using mirror = from.start(words);
      await copied('copy/before', '1');
      expect(mirror.errors).toBe('');
      await from.run(['put', 'mirror/after', '2']);
      await from.run(['txn'], { input: '\nput mirror/x 3\nput mirror/y 4\n\n\n' });
      await from.run(['del', 'mirror/before']);
      await copied('copy/y', '4');
      await gone('copy/before');
      expect((await to.run(['get', 'copy/', '--prefix', '--print-value-only'])).stdout).toBe('2\n3\n4\n');
      await to.run(['del', 'copy/', '--prefix']);

      async function copied(key: string, value: string): Promise<void> {
        while ((await to.run(['get', key, '--print-value-only'])).stdout !== `${value}\n`);
      }
      async function gone(key: string): Promise<void> {
        while ((await to.run(['get', key])).stdout !== '');
      }
    }
  });

  it.skipIf(version === '3.4')('validates a downgrade, for which only the etcdctl of 3.6 has a command', async () => {
    const answers = [];
    for (const side of [pair.real, pair.ours]) {
      const found = [];
      for (const wanted of ['3.4', '3.4.0', '3.3', '3.5', 'x']) {
        const body = { action: 'VALIDATE', version: wanted };
        const url = `${side.named('client')}/v3/maintenance/downgrade`;
        const { status, body: text } = await probe(url, { body, timeoutMs: 5_000 });
        const { code, message, version: at } = JSON.parse(text) as Record<string, unknown>;
        found.push({ status, code, message, at });
      }
      answers.push(found);
    }
    expect(answers[1]).toEqual(answers[0]);
    expect(answers[1]?.[0]).toMatchObject({ status: 200, at: '3.5.0' });
  });

  it('says its version', async () => {
    await pair.good('version');
  });
});

describe.each(versions)('etcdctl %s with little room', (version) => {
  let pair: Pair;

  beforeAll(async () => {
    pair = await Pair.start(version, ['--quota-backend-bytes=1000000']);
  });
  afterAll(async () => {
    await pair?.[Symbol.asyncDispose]();
  });

  it('fills it, and finds the way out', async () => {
    await pair.good('alarm list');
    await pair.good('alarm disarm');
    const full = { input: 'x'.repeat(100_000) };
    for (const side of [pair.real, pair.ours]) {
      let errors = '';
      let count = 0;
      for (; errors === '' && count < 50; count += 1) errors = (await side.run(['put', 'big'], full)).errors;
      expect(errors).toContain('database space exceeded');
      expect(count).toBeGreaterThan(5);
    }
    // In others is a revision, and 3.4 has no header.
    for (const format of ['simple', 'table']) await pair.same(['alarm', 'list', '-w', format]);
    expect(await pair.bad('put small 1')).toContain('database space exceeded');
    expect(await pair.bad('lease grant 10')).toContain('database space exceeded');
    await pair.same(['txn'], { input: '\nput small 1\n\n\n' });
    await pair.same(['txn'], { input: '\nget big --keys-only\ndel none\n\n\n' });
    // Alarms make 3.5 call an endpoint sick.
    await pair.same(['endpoint', 'health']);
    for (const side of [pair.real, pair.ours]) {
      const health = await probe(`${side.named('client')}/health`, { timeoutMs: 5_000 });
      expect([health.status, health.body]).toEqual([503, expect.stringContaining('"health":"false"')]);
      const { stdout } = await side.run(['get', 'big', '--keys-only', '-w', 'json']);
      const { revision } = (JSON.parse(stdout) as { header: { revision: number } }).header;
      expect((await side.run(['compact', String(revision), '--physical'])).code).toBe(0);
    }
    await pair.good('del big');
    for (const side of [pair.real, pair.ours]) {
      const { stdout } = await side.run(['get', 'big', '-w', 'json']);
      const { revision } = (JSON.parse(stdout) as { header: { revision: number } }).header;
      expect((await side.run(['compact', String(revision), '--physical'])).code).toBe(0);
      expect((await side.run(['defrag'])).code).toBe(0);
    }
    await pair.good('alarm list');
    expect(await pair.good('alarm disarm')).toContain('NOSPACE');
    expect(await pair.good('alarm list')).toBe('');
    await pair.good('put small 1');
    await pair.same(['endpoint', 'health']);
  });
});

describe.each(versions)('etcdctl %s over TLS', (version) => {
  it('calls a member by its URL, which 3.4 sends as an authority that is none', async () => {
    const { etcdctl } = await ensureEtcd(version);
    await using ours = await EtcdCluster.start({ version: 'bundled', tls: 'mutual' });
    const tls = ours.tls as NonNullable<typeof ours.tls>;
    await using side = await Side.of(ours, etcdctl, [
      `--cacert=${tls.caPath}`,
      `--cert=${tls.certPath}`,
      `--key=${tls.keyPath}`,
    ]);
    for (const words of ['endpoint status', 'endpoint hashkv', 'defrag', 'put a 1']) {
      const { code, errors } = await side.run(words.split(' '));
      expect([words, code, errors]).toEqual([words, 0, '']);
    }
  });
});
