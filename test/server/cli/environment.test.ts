import { describe, expect, it } from 'vitest';
import { parseCommandLine } from '../../../src/server/cli/command-line.ts';
import { addEnvironment } from '../../../src/server/cli/environment.ts';
import { SettingsError } from '../../../src/server/cli/errors.ts';

function read(environment: Record<string, string>, ...words: string[]) {
  const { given } = parseCommandLine(words);
  const unknown: string[] = [];
  addEnvironment(given, environment, (variable) => unknown.push(variable));
  return { values: given.values(), given, unknown };
}

describe('the environment', () => {
  it('has each flag under its name in capitals', () => {
    const { values, given } = read({ ETCD_DATA_DIR: '/d', ETCD_PRE_VOTE: 'false', ETCD_CORS: 'a,b', NAME: 'x' });
    expect(values).toMatchObject({ 'data-dir': '/d', 'pre-vote': false, cors: ['a', 'b'], name: 'default' });
    expect(given.has('data-dir')).toBe(true);
  });

  it('has aliases too', () => {
    expect(read({ ETCD_EXPERIMENTAL_SNAPSHOT_CATCHUP_ENTRIES: '9' }).values['snapshot-catchup-entries']).toBe(9);
  });

  it('says nothing by an empty variable, even beside a flag', () => {
    expect(read({ ETCD_NAME: '' }).values.name).toBe('default');
    expect(read({ ETCD_NAME: '' }, '--name=a').values.name).toBe('a');
  });

  it('may not say what a flag says, not even by an alias', () => {
    expect(() => read({ ETCD_NAME: 'a' }, '--name=a')).toThrow(/^conflicting environment variable is shadowed by/);
    expect(() => read({ ETCD_EXPERIMENTAL_SNAPSHOT_CATCHUP_ENTRIES: '9' }, '--snapshot-catchup-entries=9')).toThrow(
      SettingsError,
    );
  });

  it('names the variable that does not read', () => {
    expect(() => read({ ETCD_HEARTBEAT_INTERVAL: 'zz' })).toThrow(
      'invalid value "zz" for ETCD_HEARTBEAT_INTERVAL: parse error',
    );
  });

  it('tells of unknown variables, and not of those that frameworks set', () => {
    expect(
      read({ ETCD_FOO: 'secret', ETCD_VERIFY: 'all', ETCD_UNSUPPORTED_ARCH: 'x', ETCDCTL_API: '3' }).unknown,
    ).toEqual(['ETCD_FOO']);
  });
});
