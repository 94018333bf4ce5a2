import { describe, expect, it } from 'vitest';
import { ClusterUsageError, parseCluster, planCluster } from '../../../src/cli/cluster/settings.ts';

const up = (...args: readonly string[]) => {
  const command = parseCluster(args);
  if (command.type !== 'up') throw new Error(command.type);
  return command.options;
};

describe('the command line', () => {
  it('has defaults', () => {
    expect(parseCluster([])).toEqual({
      type: 'up',
      dataDir: 'etcdkit.cluster',
      options: { members: 3, baseClientPort: 2379, basePeerPort: 2380, real: undefined },
    });
  });

  it('knows the commands', () => {
    expect(parseCluster(['stop', '2', '--data-dir', 'd'])).toEqual({
      type: 'member',
      dataDir: 'd',
      action: 'stop',
      member: '2',
    });
    expect(parseCluster(['status', '--json'])).toEqual({ type: 'status', dataDir: 'etcdkit.cluster', json: true });
    expect(parseCluster(['down'])).toEqual({ type: 'down', dataDir: 'etcdkit.cluster' });
    expect(parseCluster(['-h'])).toEqual({ type: 'help' });
  });

  it.each([
    [['--members', '0'], '--members: a whole number from 1 to 9'],
    [['--members', '1e1'], '--members'],
    [['--base-client-port', '70000'], '--base-client-port'],
    [['--nope'], '--nope'],
    [['stop'], 'needs the number'],
    [['status', '1'], 'what is "1"?'],
    [['start', '1', '2'], 'what is "2"?'],
    [['constructor'], 'unknown command "constructor"'],
  ])('refuses %j', (args, message) => {
    expect(() => parseCluster(args)).toThrow(ClusterUsageError);
    expect(() => parseCluster(args)).toThrow(message);
  });
});

describe('the plan', () => {
  it('has ports in steps from the bases', async () => {
    const { members } = await planCluster(up());
    expect(members).toEqual([
      { name: 'm1', clientUrl: 'http://127.0.0.1:2379', peerUrl: 'http://127.0.0.1:2380' },
      { name: 'm2', clientUrl: 'http://127.0.0.1:2381', peerUrl: 'http://127.0.0.1:2382' },
      { name: 'm3', clientUrl: 'http://127.0.0.1:2383', peerUrl: 'http://127.0.0.1:2384' },
    ]);
  });

  it('has no port twice', async () => {
    const { members } = await planCluster(up('--members=9', '--base-client-port=0', '--base-peer-port=0'));
    expect(new Set(members.flatMap(({ clientUrl, peerUrl }) => [clientUrl, peerUrl])).size).toBe(18);
    await expect(planCluster(up('--base-peer-port=2381'))).rejects.toThrow('two of the ports are the same');
  });

  it('has another token each time', async () => {
    const [a, b] = [await planCluster(up()), await planCluster(up())];
    expect(a.clusterToken).not.toBe(b.clusterToken);
  });
});
