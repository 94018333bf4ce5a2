/** What is left when a client is done: nothing. */
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { Etcd } from '../../../src/client/etcd.ts';
import { describeOnRealEtcd } from '../../support/fixtures.ts';
import { GrpcFaultProxy } from '../../support/grpc-fault-proxy.ts';
import { expectProcessExits, snapshotResources } from '../../support/leaks.ts';
import { tcpServer } from '../transport/servers.ts';

const child = (name: string): string => path.join(import.meta.dirname, 'children', name);
const STRICT = { env: { NODE_OPTIONS: '--unhandled-rejections=strict' } };

describe('a process ends by itself', () => {
  describeOnRealEtcd(
    'with a client',
    (suite) => {
      for (const way of ['closed', 'idle', 'inFlight', 'connecting', 'neverUsed']) {
        it(`that is ${way}`, async () => {
          const { stdout, stderr } = await expectProcessExits(
            child('exit.ts'),
            [way, suite.cluster.endpoints[0]!],
            STRICT,
          );
          expect(stdout).toContain('done');
          expect(stderr).toBe('');
        });
      }

      it('that nobody answers', async () => {
        const { stdout } = await expectProcessExits(child('exit.ts'), ['unreachable', '127.0.0.1:1'], STRICT);
        expect(stdout.match(/unavailable|deadline/g)).toHaveLength(20);
      });

      it('that waits for a handshake, in clear text and in TLS', async () => {
        await using mute = await tcpServer((socket) => socket.resume());
        for (const scheme of ['http', 'https']) {
          const { stdout } = await expectProcessExits(
            child('exit.ts'),
            ['handshaking', `${scheme}://${mute.address}`],
            STRICT,
          );
          expect(stdout).toContain('closed');
        }
      });
    },
    { versions: ['3.5'] },
  );
});

describeOnRealEtcd(
  'closing',
  (suite) => {
    it('leaves no timer, socket or anything else behind', async () => {
      await using proxy = await GrpcFaultProxy.start({ target: suite.cluster.members[0]!.address });
      const before = snapshotResources();
      const etcd = new Etcd({ endpoints: [proxy.address, suite.cluster.endpoints[0]!], autoSync: true });
      for (let i = 0; i < 10; i++) await etcd.put(suite.prefix(), 'v');
      proxy.rule({ path: '/etcdserverpb.KV/Put', action: 'hang' });
      const hanging = [etcd.put('a', 'v'), etcd.put('a', 'v')].map((call) => call.catch((error: Error) => error));
      await proxy.waitFor((calls) => calls.some(({ fault }) => fault === 'hang'));
      await etcd.close();
      const outcomes = await Promise.all(hanging);
      const closed = outcomes.filter((outcome) => outcome instanceof Error);
      expect(closed.length).toBeGreaterThan(0);
      for (const error of closed) expect(error).toMatchObject({ code: 'closed', applied: 'maybe', attempts: 1 });
      await expect.poll(() => proxy.connections.open).toBe(0);
      await before.expectNothingAdded();
    });

    it('lets a stopped server’s connection go', async () => {
      const [member] = suite.cluster.members;
      const before = snapshotResources();
      const etcd = new Etcd({ endpoints: member!.address });
      await etcd.put(suite.prefix(), 'v');
      member!.pause();
      try {
        const call = etcd.put('a', 'v').catch((error: Error) => error);
        await new Promise((resolve) => setImmediate(resolve));
        await etcd.close();
        expect(await call).toMatchObject({ code: 'closed' });
        await before.expectNothingAdded();
      } finally {
        member!.resume();
      }
    });

    it('and reconnecting does not leak', async () => {
      const count = process.env['ETCDKIT_RECONNECTS'] ?? '2000';
      const { stdout } = await expectProcessExits(child('reconnect.ts'), [suite.cluster.members[0]!.address, count], {
        timeoutMs: 600_000,
        env: { NODE_OPTIONS: '--expose-gc --unhandled-rejections=strict' },
      });
      const { opened, samples, sockets } = JSON.parse(stdout) as {
        opened: number;
        samples: number[];
        sockets: number;
      };
      expect(opened).toBeGreaterThan(Number(count) * 0.9);
      // The second half of the run against what it had at its middle: 200 bytes a connection would be a leak.
      const growth = samples.at(-1)! - samples[4]!;
      console.log(`${opened} connections: heap ${samples.map((bytes) => (bytes / 2 ** 20).toFixed(1)).join(' ')} MiB`);
      expect(growth).toBeLessThan(512 * 1024);
      expect(sockets).toBeLessThan(10);
    }, 600_000);
  },
  { versions: ['3.5'] },
);
