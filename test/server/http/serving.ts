/** A port on a small table of methods, with a member that does nothing but answer. */
import * as pb from '../../../src/protocol/generated/etcdserverpb.ts';
import { ServerMetrics } from '../../../src/server/http/metrics.ts';
import { openPort, type Port, type PortOptions } from '../../../src/server/http/port.ts';
import type { ServingMember } from '../../../src/server/member/serving.ts';
import { Refusals, RpcError } from '../../../src/server/refusals.ts';
import {
  bidi,
  Encoded,
  type Method,
  type MethodTable,
  type ServerCall,
  serverStream,
  unary,
} from '../../../src/server/rpc/call.ts';
import { onAbort } from '../../../src/support/signals.ts';

/** What the member is asked by pages and metrics; change it while it serves. */
export interface FakeState {
  leader: bigint;
  learner: boolean;
  alarms: Set<number>;
  authEnabled: boolean;
  clusterVersion: string | undefined;
  linearize: (signal?: AbortSignal) => Promise<void>;
}

export function fakeMember(): { member: ServingMember; state: FakeState } {
  const state: FakeState = {
    leader: 0xabcn,
    learner: false,
    alarms: new Set(),
    authEnabled: false,
    clusterVersion: '3.5.0',
    linearize: () => Promise.resolve(),
  };
  const member = {
    id: 0xabcn,
    clusterId: 1n,
    version: '3.5.30',
    get position() {
      return { leader: state.leader, term: 2, committed: 9, applied: 8, isLearner: state.learner };
    },
    state: {
      store: { revision: 7, compactRevision: 3, keyCount: 5, operations: { range: 4, put: 3, delete: 2, txn: 1 } },
      watches: { counts: { upToDate: 2, behind: 1 }, delivered: 11 },
      lessor: { counts: { granted: 5, revoked: 4, renewed: 3 } },
      alarms: { has: (type: number) => state.alarms.has(type) },
      auth: {
        get enabled() {
          return state.authEnabled;
        },
        revision: 12n,
      },
      members: {
        get clusterVersion() {
          return state.clusterVersion;
        },
      },
      sizeBytes: 4096,
      sizeInUseBytes: 1024,
    },
    linearize: (signal?: AbortSignal) => state.linearize(signal),
    proposals: { pending: 4, failed: 6 },
    counters: { leaderChanges: 2, failedReads: 3, slowReads: 4, expiredLeases: 5, logBytes: 6_000 },
  };
  return { member: member as unknown as ServingMember, state };
}

/** What the methods of the table have seen. */
export interface Seen {
  readonly calls: ServerCall[];
  readonly puts: pb.PutRequest[];
  /** Calls that wait, and those whose signal fired. */
  waiting: number;
  cancelled: number;
  reasons: string[];
}

function forever(call: ServerCall, seen: Seen): Promise<never> {
  seen.waiting++;
  return new Promise((_resolve, reject) => {
    onAbort(call.signal, () => {
      seen.waiting--;
      seen.cancelled++;
      seen.reasons.push((call.signal.reason as Error).message);
      reject(call.signal.reason as Error);
    });
  });
}

const SECRET = 'a text that no client may see';

/**
 * Put answers (a key `refuse` is refused, `break` is a fault, `wait` waits for ever, `big` answers 100 KB); Range answers
 * bytes; Watch echoes the ids of create requests and ends with the requests; Snapshot sends until told to stop.
 */
export function smallTable(seen: Seen): MethodTable {
  const put = unary(pb.KV.put, async (request, call) => {
    seen.calls.push(call);
    seen.puts.push(request);
    const key = Buffer.from(request.key).toString();
    if (key === 'refuse') throw new RpcError(Refusals.EmptyKey);
    if (key === 'odd') throw new RpcError({ text: 'odd: 100% ünï\n', grpcCode: 9 });
    if (key === 'break') throw new Error(SECRET);
    if (key === 'wait') return forever(call, seen);
    if (key === 'big') return { prevKv: { key: request.key, value: new Uint8Array(100_000) } };
    return { header: { revision: 2n ** 53n + 1n } };
  });
  const range = unary(pb.KV.range, async (request, call) => {
    seen.calls.push(call);
    const kv = { key: request.key, value: Buffer.from('v'), modRevision: 5n };
    return new Encoded(pb.RangeResponse.encode({ kvs: [kv], count: 1n }));
  });
  const watch = bidi(pb.Watch.watch, async (requests, call, out) => {
    seen.calls.push(call);
    for await (const { createRequest } of requests) {
      if (createRequest === undefined) continue;
      if (createRequest.watchId === 99n) throw new RpcError(Refusals.Compacted);
      if (createRequest.watchId === 98n) await forever(call, seen);
      out.send({ watchId: createRequest.watchId, created: true });
    }
  });
  const snapshot = serverStream(pb.Maintenance.snapshot, async (_request, call, out) => {
    seen.calls.push(call);
    while (!call.signal.aborted) {
      seen.waiting++;
      if (!out.send({ blob: new Uint8Array(32 * 1024) })) await out.drained();
    }
    seen.reasons.push((call.signal.reason as Error).message);
  });
  const header = { clusterId: 1n, memberId: 0xabcn };
  const status = unary(pb.Maintenance.status, async () => ({ header, version: '3.5.30', leader: 0xabcn }));
  const methods: Method[] = [put, range, watch, snapshot, status];
  return new Map(methods.map((method) => [method.descriptor.path, method]));
}

/** A port with all that, closed with `await using`. */
export async function serve(options: Partial<PortOptions> = {}): Promise<{
  port: Port;
  url: string;
  seen: Seen;
  state: FakeState;
  member: ServingMember;
  metrics: ServerMetrics;
  faults: unknown[];
  [Symbol.asyncDispose](): Promise<void>;
}> {
  const seen: Seen = { calls: [], puts: [], waiting: 0, cancelled: 0, reasons: [] };
  const { member, state } = fakeMember();
  const metrics = new ServerMetrics();
  const methods = options.methods ?? smallTable(seen);
  metrics.serve(member, methods);
  const faults: unknown[] = [];
  const port = await openPort({
    methods,
    member,
    metrics,
    listen: { host: '127.0.0.1', port: 0 },
    report: (error) => faults.push(error),
    ...options,
  });
  return {
    port,
    url: `${options.tls === undefined ? 'http' : 'https'}://127.0.0.1:${port.port}`,
    seen,
    state,
    member,
    metrics,
    faults,
    async [Symbol.asyncDispose]() {
      await port.close();
    },
  };
}

export { SECRET };
