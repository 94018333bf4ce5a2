import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { formatDeb822, parseDeb822, parseOneLine } from '../../scripts/etcd/apt-sources.ts';
import { ensureEtcd, etcdVersions } from '../../scripts/etcd.ts';

const run = promisify(execFile);

describe('apt sources', () => {
  it('reads one-line entries, skipping sources and comments', () => {
    const text = [
      '# deb http://mirror.invalid/off bookworm main',
      'deb-src http://mirror.invalid/debian bookworm main',
      'deb http://mirror.invalid/debian bookworm main contrib # the mirror',
      'deb [ arch=amd64 signed-by=/keys/a.gpg trusted=yes ] http://mirror.invalid/other bookworm main',
    ].join('\n');
    expect(parseOneLine(text)).toEqual([
      { uri: 'http://mirror.invalid/debian', suites: ['bookworm'], components: ['main', 'contrib'] },
      {
        uri: 'http://mirror.invalid/other',
        suites: ['bookworm'],
        components: ['main'],
        signedBy: '/keys/a.gpg',
        trusted: 'yes',
      },
    ]);
  });

  it('reads deb822 stanzas with comments, lists and an embedded key, skipping disabled ones', () => {
    const text = [
      'Types: deb deb-src',
      '# http://mirror.invalid/snapshot',
      'URIs: http://mirror.invalid/a http://mirror.invalid/b',
      'Suites: bookworm bookworm-updates',
      'Components: main',
      'Signed-By:',
      ' -----BEGIN PGP PUBLIC KEY BLOCK-----',
      ' .',
      ' abc',
      '',
      'Types: deb',
      'Enabled: no',
      'URIs: http://mirror.invalid/off',
      'Suites: bookworm',
      'Components: main',
    ].join('\n');
    const sources = parseDeb822(text);
    expect(sources.map((source) => source.uri)).toEqual(['http://mirror.invalid/a', 'http://mirror.invalid/b']);
    expect(sources[0]).toMatchObject({ suites: ['bookworm', 'bookworm-updates'], components: ['main'] });
    const [first] = sources;
    if (!first) throw new Error('no source');
    expect(parseDeb822(formatDeb822(first, 'amd64'))).toEqual([first]);
  });
});

describe('ensureEtcd', () => {
  it.each(etcdVersions)('has etcd and etcdctl %s', async (version) => {
    const found = await ensureEtcd(version);
    expect(found.version.startsWith(`${version}.`)).toBe(true);
    expect((await run(found.etcd, ['--version'])).stdout).toContain(`etcd Version: ${found.version}`);
    const { stdout } = await run(found.etcdctl, ['version'], { env: { ETCDCTL_API: '3' } });
    expect(stdout).toContain(`etcdctl version: ${found.version}`);
  });
});
