import { describe, expect, it } from 'vitest';
import { parseCommandLine } from '../../../src/server/cli/command-line.ts';
import { UsageError } from '../../../src/server/cli/errors.ts';
import { FLAGS, flagNames } from '../../../src/server/cli/flags/index.ts';
import type { Flag } from '../../../src/server/cli/flags/kinds.ts';

function values(...words: string[]) {
  return parseCommandLine(words).given.values();
}

describe('the command line', () => {
  it('has the defaults of etcd', () => {
    const all = values();
    expect(all.name).toBe('default');
    expect(all['snapshot-count']).toBe(100_000);
    expect(all['election-timeout']).toBe(1_000);
    expect(all['max-request-bytes']).toBe(1_572_864);
    expect(all['grpc-keepalive-interval']).toBe(7_200_000);
    expect(all['pre-vote']).toBe(true);
    expect(all['listen-client-urls'].map((url) => url.text)).toEqual(['http://localhost:2379']);
  });

  it('takes every way of writing a flag', () => {
    expect(values('-name', 'a').name).toBe('a');
    expect(values('--name', 'a').name).toBe('a');
    expect(values('-name=a').name).toBe('a');
    expect(values('--name=a=b').name).toBe('a=b');
    expect(values('--name=').name).toBe('');
    expect(values('--name', '--data-dir').name).toBe('--data-dir');
  });

  it('takes flags of yes or no without a value', () => {
    expect(values('--force-new-cluster', '--name', 'a')).toMatchObject({ 'force-new-cluster': true, name: 'a' });
    expect(values('--strict-reconfig-check=false')['strict-reconfig-check']).toBe(false);
    expect(values('--strict-reconfig-check=0')['strict-reconfig-check']).toBe(false);
    // The word after it is no value of it, and no flag.
    expect(parseCommandLine(['--pre-vote', 'false', '--name=a']).rest).toEqual(['false', '--name=a']);
  });

  it('lets the last one win', () => {
    const all = values(
      '--snapshot-count=10',
      '--initial-cluster-token=a',
      '--snapshot-count=20',
      '--initial-cluster-token=b',
    );
    expect(all['snapshot-count']).toBe(20);
    expect(all['initial-cluster-token']).toBe('b');
  });

  it('knows one flag by the names of several releases', () => {
    for (const name of ['snapshot-catchup-entries', 'experimental-snapshot-catchup-entries'])
      expect(values(`--${name}=7`)['snapshot-catchup-entries']).toBe(7);
    expect(values('--experimental-watch-progress-notify-interval=1s')['watch-progress-notify-interval']).toBe(1_000);
    expect(
      values('--snapshot-catchup-entries=7', '--experimental-snapshot-catchup-entries=8')['snapshot-catchup-entries'],
    ).toBe(8);
  });

  it.each([
    [['--nope'], 'flag provided but not defined: -nope'],
    [['-nope=1'], 'flag provided but not defined: -nope'],
    [['---name=a'], 'bad flag syntax: ---name=a'],
    [['--=a'], 'bad flag syntax: --=a'],
    [['--name'], 'flag needs an argument: -name'],
    [['--heartbeat-interval=abc'], 'invalid value "abc" for flag -heartbeat-interval: parse error'],
    [['--heartbeat-interval=-1'], 'invalid value "-1" for flag -heartbeat-interval: parse error'],
    [['--grpc-keepalive-min-time', 'abc'], 'invalid value "abc" for flag -grpc-keepalive-min-time: parse error'],
    [['--pre-vote=maybe'], 'invalid boolean value "maybe" for -pre-vote: parse error'],
    [
      ['--listen-client-urls=::nope'],
      'invalid value "::nope" for flag -listen-client-urls: parse "::nope": missing protocol scheme',
    ],
    [['--initial-cluster-state=foo'], 'invalid value "foo" for flag -initial-cluster-state: invalid value "foo"'],
  ])('refuses %j', (words, message) => {
    expect(() => parseCommandLine(words)).toThrow(new UsageError(message));
  });

  it('reads whole numbers as Go does', () => {
    expect(values('--quota-backend-bytes=0x10')['quota-backend-bytes']).toBe(16);
    expect(values('--quota-backend-bytes=-1')['quota-backend-bytes']).toBe(-1);
    expect(() => values('--quota-backend-bytes=1.5')).toThrow('parse error');
    expect(() => values('--quota-backend-bytes=')).toThrow('parse error');
  });

  it('stops at the first word that is no flag', () => {
    expect(parseCommandLine(['--name=a', 'foo', '--name=b']).rest).toEqual(['foo', '--name=b']);
    expect(parseCommandLine(['--', '--name=b']).rest).toEqual(['--name=b']);
    expect(parseCommandLine(['-']).rest).toEqual(['-']);
  });

  it.each(['-h', '--help', '-help'])('%s asks for help', (word) => {
    expect(parseCommandLine([word]).help).toBe(true);
  });

  it('reads the default that each flag shows', () => {
    for (const [name, flag] of Object.entries<Flag>(FLAGS)) {
      if (['data-dir', 'backend-batch-interval', 'initial-cluster', 'max-concurrent-streams'].includes(name)) continue;
      expect(flag.parse(flag.shown), name).toEqual(flag.fallback);
    }
  });

  it('has no name twice', () => {
    const names = Object.entries<Flag>(FLAGS).flatMap(([name, { aliases }]) => [name, ...aliases]);
    expect([...flagNames()]).toHaveLength(names.length);
  });
});
