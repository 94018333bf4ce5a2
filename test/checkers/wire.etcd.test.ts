/** The checkers' model is etcd's: what real clients are told by a real etcd has no findings, of no checker. */
import { once } from 'node:events';
import { expect, it } from 'vitest';
import { Lease, Watch } from '../../src/protocol/generated/etcdserverpb.ts';
import { WireClient } from '../server/torture/wire-client.ts';
import { Sfc32 } from '../simulation/world/random.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { isSerializable, Recorder, type Request } from './history.ts';
import { checkHistory, clientRevisions } from './linearizability.ts';
import { LEASE, randomRequest } from './support/random-request.ts';
import { checkWatchers, type WatchEvent, type WatchStep } from './watch-checker.ts';
import { ask, logFrom, watchStep } from './wire.ts';
import { checkWithoutRevisions } from './without-revisions.ts';

const CLIENTS = 6;
const OPERATIONS = 150;

describeOnEtcd(
  'histories of real clients',
  (suite) => {
    it('have nothing to be found', async () => {
      const recorder = new Recorder();
      const clients = await Promise.all(
        Array.from({ length: CLIENTS }, () => WireClient.open(suite.cluster.endpoints[0] as string)),
      );
      const [first] = clients as [WireClient];
      const all = { key: Buffer.from([0]), rangeEnd: Buffer.from([0]) };
      const { header } = await first.unary(Lease.leaseGrant, { ID: LEASE, TTL: 600n });
      const start = { revision: Number(header?.revision), kvs: [] };
      const steps: WatchStep[] = [];
      const heard = new EventTarget();
      const watch = first.stream(Watch.watch, (message) => {
        steps.push(watchStep(message));
        heard.dispatchEvent(new Event('step'));
      });
      watch.send({ createRequest: { ...all, startRevision: BigInt(start.revision + 1), prevKv: true } });

      await Promise.all(
        clients.map(async (client, number) => {
          const random = new Sfc32(number);
          for (let count = 0; count < OPERATIONS; count += 1) {
            const request = randomRequest(random, `${number}-${count}`, start.revision + recorder.operations.length);
            const open = recorder.call(`c${number}`, request);
            open.answered(await answer(client, request), 'm0');
          }
        }),
      );
      const end = recorder.call('c0', { kind: 'revoke', lease: LEASE });
      end.answered(await answer(first, { kind: 'revoke', lease: LEASE }), 'm0');
      const last = Math.max(...recorder.operations.map((one) => (one.status === 'ok' ? one.response.revision : 0)));
      while (eventsOf(steps).at(-1)?.kv.modRevision !== last) await once(heard, 'step');
      for (const client of clients) client.close();

      const log = logFrom(eventsOf(steps));
      const report = checkHistory({ operations: recorder.operations, log, start, canExpire: () => false });
      expect(report.findings).toEqual([]);
      expect(clientRevisions(report).size).toBeGreaterThan(CLIENTS * 20);
      const watcher = { name: 'all', range: { key: '\0', end: '\0' }, startRevision: start.revision + 1, prevKv: true };
      expect(checkWatchers({ log, start }, [{ ...watcher, steps, completeTo: last }])).toEqual([]);
      const rest = recorder.operations.filter(({ request }) => !isSerializable(request));
      expect(checkWithoutRevisions(rest)).toEqual([]);
    });
  },
  { members: 1 },
);

async function answer(client: WireClient, request: Request) {
  if (request.kind !== 'revoke') return ask(request, (method, message) => client.unary(method, message));
  const { header } = await client.unary(Lease.leaseRevoke, { ID: request.lease });
  return { revision: Number(header?.revision), result: { kind: 'revoke' } } as const;
}

function eventsOf(steps: readonly WatchStep[]): WatchEvent[] {
  return steps.flatMap((step) => (step.kind === 'events' ? step.events : []));
}
