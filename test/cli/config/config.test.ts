/** `etcdkit config`, on a server in this process. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { runConfig } from '../../../src/cli/config/run.ts';
import { startEtcd } from '../../../src/testing/index.ts';
import { Captured } from '../captured.ts';

const SCHEMA = `
const schema = { '~standard': { version: 1, vendor: 'test', validate: (value) =>
  value?.perSecond > 0 ? { value } : { issues: [{ message: 'not ' + value?.perSecond, path: ['perSecond'] }] } } };
export default schema;
export const secrets = ['token'];
`;

async function bed() {
  const server = await startEtcd();
  const folder = await mkdtemp(path.join(os.tmpdir(), 'etcdkit-'));
  onTestFinished(async () => {
    await server.close();
    await rm(folder, { recursive: true });
  });
  const file = async (name: string, text: string): Promise<string> => {
    await writeFile(path.join(folder, name), text);
    return path.join(folder, name);
  };
  const environment = { ETCDCTL_ENDPOINTS: server.endpoints.join(',') };
  const config = (...args: readonly string[]) => Captured.run((out) => runConfig({ args, environment, ...out }));
  return { etcd: server.client(), file, config, schema: await file('schema.mjs', SCHEMA) };
}

describe('etcdkit config', () => {
  it('validates, and writes nothing', async () => {
    const { file, config, schema } = await bed();
    const [good, bad] = [await file('a.json', '{"perSecond": 1}'), await file('b.json', '{"perSecond": -42}')];
    expect((await config('validate', good, '--schema', schema)).status).toBe(0);
    const { status, stderr } = await config('validate', bad, '--schema', schema);
    expect([status, stderr]).toEqual([1, `${bad}: perSecond does not fit\n`]);
    expect((await config('validate', await file('c.json', '{'))).status).toBe(1);
  });

  it('publishes a file as it is, and shows it without secrets', async () => {
    const { etcd, file, config, schema } = await bed();
    const text = '# slow at first\nperSecond: 1\ntoken: s3cret\n';
    const { status, stdout } = await config('publish', 'config/a', await file('a.yaml', text), '--schema', schema);
    expect(status).toBe(0);
    const kv = await etcd.get('config/a');
    expect([kv?.value, `${kv?.modRevision}\n`]).toEqual([text, stdout]);
    // Without the module: what was named at the publication is remembered.
    const shown = await config('show', 'config/a');
    expect(shown.stdout).toBe('perSecond: 1\ntoken: "***"\n');
    expect(shown.stderr).toMatch(/^revision \d+ by /);
    const asJson = await config('show', 'config/a', '--json');
    expect(JSON.parse(asJson.stdout)).toMatchObject({ value: { perSecond: 1, token: '***' }, isCurrent: true });
  });

  it('refuses what does not fit, and what is not what was expected', async () => {
    const { file, config, schema } = await bed();
    const wrong = await file('a.json', '{"perSecond": -42}');
    const refused = await config('publish', 'config/a', wrong, '--schema', schema);
    expect([refused.status, refused.stderr.includes('perSecond'), refused.stderr.includes('42')]).toEqual([
      1,
      true,
      false,
    ]);
    const good = await file('b.json', '{"perSecond": 1}');
    const conflict = await config('publish', 'config/a', good, '--expect', '7');
    expect([conflict.status, conflict.stderr]).toEqual([1, expect.stringContaining('7 was expected')]);
  });

  it('lists versions and goes back to one', async () => {
    const { etcd, file, config } = await bed();
    const first = await config(
      'publish',
      'config/a',
      await file('a.json', '{"n":1}'),
      '--message',
      'one',
      '--author',
      'ada',
    );
    await config('publish', 'config/a', await file('b.json', '{"n":2}'), '--message', 'two\u001b[2J');
    const { stdout } = await config('history', 'config/a');
    const lines = stdout.split('\n');
    expect(lines[0]).toMatch(/^REVISION +WHEN +BY +KEPT +MESSAGE$/);
    // What was written is shown, and nothing a terminal would obey.
    expect(lines[1]).toMatch(/current +two\\u001b\[2J$/);
    expect(lines[2]).toMatch(/ada +yes +one$/);
    expect((await config('rollback', 'config/a', '--to', first.stdout.trim())).status).toBe(0);
    expect((await etcd.get('config/a'))?.value).toBe('{"n":1}');
    const { stdout: json } = await config('history', 'config/a', '--limit', '1', '--json');
    expect(JSON.parse(json)).toMatchObject({
      more: true,
      versions: [{ isCurrent: true, message: expect.stringContaining('roll-back') }],
    });
  });

  it('stages, changes the share, promotes and abandons', async () => {
    const { etcd, file, config } = await bed();
    await config('publish', 'config/a', await file('a.json', '{"n":1}'));
    const next = await file('b.json', '{"n":2}');
    expect((await config('stage', 'config/a', next, '--share', '101')).status).toBe(2);
    expect((await config('stage', 'config/a', next, '--share', '10')).status).toBe(0);
    expect((await config('publish', 'config/a', next)).stderr).toContain('a candidate is staged');
    expect((await config('share', 'config/a', '50')).status).toBe(0);
    expect((await config('promote', 'config/a')).status).toBe(0);
    expect((await etcd.get('config/a'))?.value).toBe('{"n":2}');
    await config('stage', 'config/a', next, '--share', '10');
    expect((await config('abandon', 'config/a')).status).toBe(0);
    expect(await etcd.get('config/a#staged')).toBeUndefined();
  });

  it.each([
    [[], 'which command?'],
    [['nope'], 'unknown command "nope"'],
    [['show'], 'KEY is missing'],
    [['show', 'a', 'b'], 'what is "b"?'],
    [['publish', 'a'], 'FILE is missing'],
    [['rollback', 'a'], '--to'],
    [['rollback', 'a', '--to', 'x'], 'a revision'],
    [['show', 'a', '--schema', '/nowhere.mjs'], 'cannot be loaded'],
    [['validate', '/dev/null', '--format', 'xml'], 'json or yaml'],
    [['show', 'a', '--user', 'me'], 'the password is missing'],
    [['show', 'a', '--cert', 'c'], 'go together'],
  ])('has a usage for %j', async (args, message) => {
    const { status, stderr, stdout } = await Captured.run((out) => runConfig({ args, environment: {}, ...out }));
    expect([status, stdout]).toEqual([2, '']);
    expect(stderr).toContain(message);
    expect(stderr).toContain('Usage: etcdkit config');
  });
});
