/**
 * The command line of `etcdkit cluster`, and the plan that comes of it: which members there are, and where.
 *
 * @module
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { parseArgs } from 'node:util';
import type { MemberPlan, StateFile } from './state-file.ts';

/** What the usage is printed for. */
export class ClusterUsageError extends Error {
  override name = 'ClusterUsageError';
}

/** What can be done to a member of a cluster that runs. */
export const MEMBER_ACTIONS = ['start', 'stop', 'kill', 'pause', 'resume', 'lead'] as const;

/** One of {@link MEMBER_ACTIONS}. */
export type MemberAction = (typeof MEMBER_ACTIONS)[number];

/** What was asked for. */
export type ClusterCommand =
  | { readonly type: 'help' }
  | { readonly type: 'up'; readonly dataDir: string; readonly options: UpOptions }
  | { readonly type: 'member'; readonly dataDir: string; readonly action: MemberAction; readonly member: string }
  | { readonly type: 'status'; readonly dataDir: string; readonly json: boolean }
  | { readonly type: 'down'; readonly dataDir: string };

/** How a new cluster is to be. */
export interface UpOptions {
  readonly members: number;
  readonly baseClientPort: number;
  readonly basePeerPort: number;
  /** Executable of a real etcd; undefined: the bundled server. */
  readonly real: string | undefined;
}

export const CLUSTER_USAGE = `Usage: etcdkit cluster [flags]                 start a cluster on this machine, and show how it is
       etcdkit cluster <command> [flags]       tell one that runs, from another shell

Commands:
  start|stop|kill|pause|resume <n>  the member of this number, or name
  lead <n>                          make it the leader
  status [--json]                   how all are
  down                              end all

Flags:
  --data-dir DIR            where everything is kept. Default: etcdkit.cluster
  --members N               how many members a new cluster has. Default: 3
  --base-client-port PORT   of the first member, the others follow in steps of 2; 0: any that are free. Default: 2379
  --base-peer-port PORT     the same, for the members themselves. Default: 2380
  --real PATH               run this etcd in place of the bundled server

Keys: 1 to 9 stop or start a member, p and a number pause it or let it go on, l moves the leader, q quits.
`;

/** Understands a command line. @throws ClusterUsageError */
export function parseCluster(args: readonly string[]): ClusterCommand {
  const { values, positionals } = parse(args);
  const { 'data-dir': dataDir = 'etcdkit.cluster' } = values;
  if (values.help) return { type: 'help' };
  const [name = 'up', member, ...rest] = positionals;
  if (rest.length > 0) throw new ClusterUsageError(`what is "${rest[0]}"?`);
  const action = MEMBER_ACTIONS.find((known) => known === name);
  if (action !== undefined) {
    if (member === undefined) throw new ClusterUsageError(`"${name}" needs the number of a member`);
    return { type: 'member', dataDir, action, member };
  }
  if (member !== undefined) throw new ClusterUsageError(`what is "${member}"?`);
  if (name === 'status') return { type: 'status', dataDir, json: values.json ?? false };
  if (name === 'down') return { type: 'down', dataDir };
  if (name !== 'up') throw new ClusterUsageError(`unknown command "${name}"`);
  const members = whole('members', values.members ?? '3', 1, 9);
  const baseClientPort = whole('base-client-port', values['base-client-port'] ?? '2379', 0, 65_500);
  const basePeerPort = whole('base-peer-port', values['base-peer-port'] ?? '2380', 0, 65_500);
  return { type: 'up', dataDir, options: { members, baseClientPort, basePeerPort, real: values.real } };
}

function parse(args: readonly string[]) {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean' } as const;
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        'data-dir': text,
        members: text,
        'base-client-port': text,
        'base-peer-port': text,
        real: text,
        json: flag,
        help: { ...flag, short: 'h' },
      },
    });
  } catch (error) {
    throw new ClusterUsageError((error as Error).message);
  }
}

function whole(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= least && value <= most) return value;
  throw new ClusterUsageError(`--${name}: a whole number from ${least} to ${most}`);
}

/** Plans a new cluster. */
export async function planCluster({ members, baseClientPort, basePeerPort }: UpOptions): Promise<StateFile> {
  const clientPorts = await portsFrom(baseClientPort, members);
  const peerPorts = await portsFrom(basePeerPort, members, clientPorts);
  const used = [...clientPorts, ...peerPorts];
  if (new Set(used).size < used.length) throw new ClusterUsageError('two of the ports are the same');
  return {
    clusterToken: `etcdkit-${randomBytes(6).toString('hex')}`,
    members: clientPorts.map(
      (port, at): MemberPlan => ({
        name: `m${at + 1}`,
        clientUrl: `http://127.0.0.1:${port}`,
        peerUrl: `http://127.0.0.1:${peerPorts[at]}`,
      }),
    ),
  };
}

/** @param not Ports that are promised already: the system may give them out once more. */
async function portsFrom(base: number, count: number, not: readonly number[] = []): Promise<number[]> {
  if (base > 0) return Array.from({ length: count }, (_, at) => base + 2 * at);
  const servers: net.Server[] = [];
  const ports: number[] = [];
  while (ports.length < count) {
    const server = net.createServer().listen({ port: 0, host: '127.0.0.1' });
    servers.push(server);
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    if (!not.includes(port)) ports.push(port);
  }
  // Not before all are known: the same one would come again.
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
