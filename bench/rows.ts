/**
 * What is measured, and what the ratio should be.
 *
 * @module
 */

import type { ClientName } from './clients/client.ts';

/** One comparison. */
export interface Row {
  readonly name: string;
  readonly task: 'get' | 'put' | 'watchers' | 'events' | 'import';
  readonly args: readonly string[];
  /** The figure whose ratio, ours to the peer's, is the result. */
  readonly figure: string;
  readonly ours: ClientName;
  readonly peer: ClientName;
  readonly atLeast?: number;
  readonly atMost?: number;
}

const SECONDS = '2';

function load(task: 'get' | 'put', inFlight: number, target: Pick<Row, 'atLeast'>, peer: ClientName = 'etcd3'): Row {
  const args = [String(inFlight), SECONDS];
  return { name: `${task} ${inFlight}`, task, args, figure: 'perSecond', ours: 'etcdkit', peer, ...target };
}

function coalesced(task: 'get' | 'put', inFlight: number, atLeast: number): Row {
  const row = load(task, inFlight, { atLeast }, 'etcdkit');
  return { ...row, name: `coalesced ${row.name}`, ours: 'etcdkit-coalesced' };
}

function cpu(task: 'get' | 'put', inFlight: number): Row {
  const row = load(task, inFlight, {}, 'grpc-js');
  return { ...row, name: `cpu ${row.name}`, figure: 'cpuMicrosPerOp', atMost: 1.1 };
}

/** All comparisons, with the targets that this project set itself. */
export const rows: readonly Row[] = [
  load('get', 1, { atLeast: 1 }),
  load('put', 1, { atLeast: 1 }),
  load('get', 64, { atLeast: 1.1 }),
  load('put', 64, { atLeast: 1.1 }),
  load('get', 256, { atLeast: 1.2 }),
  load('put', 256, { atLeast: 1.2 }),
  cpu('get', 64),
  cpu('put', 64),
  { ...cpu('put', 1), name: 'p50 put 1', figure: 'p50Ms', atMost: 1.05 },
  coalesced('get', 16, 2.5),
  coalesced('get', 64, 6),
  coalesced('get', 256, 12),
  coalesced('put', 64, 5),
  coalesced('put', 256, 9),
  {
    name: 'watchers 10000',
    task: 'watchers',
    args: ['10000'],
    figure: 'createdMs',
    ours: 'etcdkit',
    peer: 'etcd3',
    atMost: 1 / 3,
  },
  {
    name: 'events 50000',
    task: 'events',
    args: ['50000'],
    figure: 'cpuMicrosPerEvent',
    ours: 'etcdkit',
    peer: 'etcd3',
    atMost: 0.6,
  },
  { name: 'import', task: 'import', args: [], figure: 'importMs', ours: 'etcdkit', peer: 'etcd3', atMost: 0.6 },
];
