/** The same requests by HTTP to this server and to a real etcd 3.5: pages, the JSON forms of all kinds of calls, and nonsense. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EtcdServer } from '../../../src/server/index.ts';
import { EtcdCluster } from '../../support/etcd-cluster.ts';
import { type HttpRequest, REQUESTS } from './gateway-requests.ts';
import { hasRealEtcd } from './real-etcd.ts';

/** What clients and browsers go by. */
const HEADERS = [
  'content-type',
  'allow',
  'location',
  'grpc-metadata-content-type',
  'access-control-allow-methods',
  'access-control-allow-origin',
  'access-control-allow-headers',
  'x-content-type-options',
] as const;

interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: unknown;
}

async function ask(url: string, { method, path, body, headers, only }: HttpRequest): Promise<HttpAnswer> {
  const response = await fetch(`${url}${path}`, {
    method: method ?? (body === undefined ? 'GET' : 'POST'),
    redirect: 'manual',
    signal: AbortSignal.timeout(10_000),
    ...(body === undefined ? {} : { body, headers: { 'content-type': 'application/json', ...headers } }),
  });
  const text = await response.text();
  if (only === 'status') return { status: response.status, headers: {}, body: undefined };
  const found = HEADERS.flatMap((name) => {
    const value = response.headers.get(name);
    return value === null ? [] : [[name, value] as const];
  });
  return {
    status: response.status,
    headers: Object.fromEntries(found),
    body: only === 'headers' ? undefined : comparable(text, only === 'code'),
  };
}

/** The body as it is but for what no two clusters have in common. */
function comparable(text: string, codeOnly: boolean): unknown {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    // Pages of lines: the checks come in any order.
    return text.split('\n').sort();
  }
  return codeOnly ? (body as { code: unknown }).code : walk(withoutError(body));
}

/** Errors of the gateway have their text once or twice, by the library that etcd was built with: ours have it twice. */
function withoutError(body: unknown): unknown {
  const { error, ...rest } = body as { error?: unknown; message?: unknown };
  return error !== undefined && error === rest.message ? rest : body;
}

const OF_CLUSTERS = new Set(['cluster_id', 'member_id', 'raft_term', 'token']);

function walk(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(walk);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, field]) => [name, OF_CLUSTERS.has(name) ? 'set' : walk(field)]),
  );
}

describe.skipIf(!hasRealEtcd)('HTTP, side by side with etcd 3.5', () => {
  let server: EtcdServer;
  let cluster: EtcdCluster;
  beforeAll(async () => {
    server = await EtcdServer.start({ name: 'm1', heartbeatMs: 20, electionMs: 200, bcryptCost: 4 });
    cluster = await EtcdCluster.start({ version: '3.5' });
  });
  afterAll(async () => {
    await server.stop();
    await cluster[Symbol.asyncDispose]();
  });

  it.each(REQUESTS.map((request, index) => [index, request] as const))('answers %i: %j', async (_, request) => {
    const theirs = await ask(cluster.endpoints[0] as string, request);
    expect(await ask(server.clientUrl, request)).toEqual(theirs);
  });
});
