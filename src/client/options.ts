/**
 * The options of a client, checked at the door.
 *
 * Everything inside works with {@link ResolvedOptions}, where nothing is missing. A wrong
 * option is one error that names it; what it was set to is not repeated, since some
 * options are secrets.
 *
 * @module
 */

import * as z from 'zod';
import type { BackoffOptions } from '../support/backoff.ts';
import { type Clock, systemClock } from '../support/clock.ts';
import { type CaptureKeys, DEFAULT_TELEMETRY, type TelemetrySettings } from '../telemetry/api.ts';
import type { Credentials } from './connection/token.ts';
import { InvalidArgumentError } from './errors.ts';
import { parseEndpoint, uniqueAddresses } from './transport/address.ts';
import type { TlsOptions } from './transport/grpc-tls.ts';
import type { EndpointAddress, TransportFactory } from './transport/transport.ts';

/** How to connect to a cluster, and how calls behave unless they say otherwise. */
export interface EtcdOptions {
  /**
   * Where the members are: `host:port`, `http://host:port`, `https://host:port` or
   * `unix:path`. Without a scheme, `tls` decides. Default: `127.0.0.1:2379`.
   */
  readonly endpoints?: string | readonly string[] | undefined;
  /** TLS with Node's own authorities (`true`), or with these. Default: none, except for `https:` endpoints. */
  readonly tls?: boolean | TlsOptions | undefined;
  /** A user and a password, or a token. Default: none; a client certificate may still say who it is. */
  readonly auth?: Credentials | undefined;
  /** How long a call may take in all, retries included, unless it says otherwise. Default 5000. */
  readonly timeoutMs?: number | undefined;
  /** How long a connection may take (TCP, TLS and HTTP/2), and then the first answer on it. Default 3000. */
  readonly connectTimeoutMs?: number | undefined;
  /** When a silent connection is pinged, and given up. `false` for no pings. */
  readonly keepalive?: false | KeepaliveOptions | undefined;
  /** Whether members without a leader refuse calls at once. Default true. */
  readonly requireLeader?: boolean | undefined;
  /** The largest answer accepted, in bytes. Default 2147483647, as large as etcd can send. */
  readonly maxReceiveBytes?: number | undefined;
  /** The most operations in one list of a transaction. Default 128, as the server's `--max-txn-ops`. */
  readonly maxTxnOps?: number | undefined;
  /** How calls that may be repeated are. Default: up to 20 attempts, 25 ms doubling to 1000 ms between rounds. */
  readonly retry?: RetryOptions | undefined;
  /** Sends the single-key calls of one tick as one transaction. Default: neither. */
  readonly coalesce?: CoalesceOptions | undefined;
  /** Keeps serializable reads from going back in time when they go to another member. Default false. */
  readonly monotonicReads?: boolean | undefined;
  /** Follows the cluster's member list. Default: off. */
  readonly autoSync?: boolean | AutoSyncOptions | undefined;
  /** The clock to use; for tests on virtual time. Default: the machine's monotonic clock. */
  readonly clock?: Clock | undefined;
  /** Randomness between 0 and 1 for jitter; for tests that repeat. Default: `Math.random`. */
  readonly random?: (() => number) | undefined;
  /** Another way to carry calls than grpc-js. Default: grpc-js. */
  readonly transport?: TransportFactory | undefined;
  /** What goes into OpenTelemetry's spans and metrics; `false` for none of them. Default: all but keys. */
  readonly telemetry?: boolean | TelemetryOptions | undefined;
}

/** What this client and the recipes on it tell OpenTelemetry, where the program has set that up. */
export interface TelemetryOptions {
  /**
   * How much of keys is told: nothing, the part up to their first `/`, or all. Names of locks,
   * elections and queues are parts of keys. Default `'none'`. Values are never told.
   */
  readonly captureKeys?: CaptureKeys | undefined;
}

/** When a connection in use is pinged. */
export interface KeepaliveOptions {
  /** How long it may be silent before it is pinged. Default 10000. */
  readonly timeMs?: number | undefined;
  /** How long the answer may take. Default 3000. */
  readonly timeoutMs?: number | undefined;
  /**
   * The least that `timeMs` may be: what the servers' `--grpc-keepalive-min-time` says,
   * since a server closes connections that ping more often. Default 5000, as etcd's.
   */
  readonly minTimeMs?: number | undefined;
}

/** How often, and how fast, calls are repeated. */
export interface RetryOptions {
  /** The most attempts of one call. Default 20. */
  readonly maxAttempts?: number | undefined;
  /** The longest first wait between rounds. Default 25. */
  readonly initialMs?: number | undefined;
  /** The longest wait between rounds. Default 1000. */
  readonly maxMs?: number | undefined;
}

/** Which calls of one tick are sent together. */
export interface CoalesceOptions {
  /** Gets of single keys: all of a batch see one revision, and stay linearizable. Default false. */
  readonly gets?: boolean | undefined;
  /** Puts: those of a batch share one revision, and stand or fall together. Default false. */
  readonly puts?: boolean | undefined;
}

/** How the endpoints follow the cluster's member list. */
export interface AutoSyncOptions {
  /** How often to ask. Default 60000. */
  readonly intervalMs?: number | undefined;
  /**
   * Turns an address that a member advertises into one that can be reached from here, as
   * behind NAT; `undefined` leaves it out. Default: as it is.
   */
  readonly mapAddress?: ((clientUrl: string) => string | undefined) | undefined;
}

/** {@link AutoSyncOptions} with nothing missing. */
export interface ResolvedAutoSync {
  readonly intervalMs: number;
  readonly mapAddress: (clientUrl: string) => string | undefined;
}

/** The options with nothing missing. */
export interface ResolvedOptions {
  readonly endpoints: readonly EndpointAddress[];
  readonly tls: TlsOptions | undefined;
  /** Whether an endpoint without a scheme is secure. */
  readonly secureByDefault: boolean;
  readonly auth: Credentials | undefined;
  readonly timeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly keepalive: { readonly timeMs: number; readonly timeoutMs: number };
  readonly requireLeader: boolean;
  readonly maxReceiveBytes: number;
  readonly maxTxnOps: number;
  readonly retry: BackoffOptions & { readonly maxAttempts: number };
  readonly coalesce: { readonly gets: boolean; readonly puts: boolean };
  readonly monotonicReads: boolean;
  readonly autoSync: ResolvedAutoSync | undefined;
  readonly clock: Clock;
  readonly random: () => number;
  readonly transport: TransportFactory | undefined;
  readonly telemetry: TelemetrySettings;
}

const milliseconds = z
  .number()
  .positive()
  .max(2 ** 31 - 1);
const count = z.int().positive();
const func = z.custom<(...args: never[]) => unknown>((value) => typeof value === 'function', 'expected a function');
const pem = z.union([z.string().min(1), z.instanceof(Uint8Array), z.strictObject({ path: z.string().min(1) })], {
  error: 'expected PEM text, bytes, or { path }',
});

const tls = z
  .strictObject({
    ca: pem.optional(),
    cert: pem.optional(),
    key: pem.optional(),
    passphrase: z.string().optional(),
    serverName: z.string().min(1).optional(),
  })
  .refine(({ cert, key }) => (cert === undefined) === (key === undefined), { error: 'cert and key go together' });

const auth = z.union(
  [
    z.strictObject({ username: z.string().min(1), password: z.string() }),
    z.strictObject({ token: z.union([z.string().min(1), func]) }),
  ],
  { error: 'expected { username, password } or { token }' },
);

const keepalive = z
  .strictObject({
    timeMs: milliseconds.default(10_000),
    timeoutMs: milliseconds.default(3_000),
    minTimeMs: milliseconds.default(5_000),
  })
  .refine(({ timeMs, minTimeMs }) => timeMs >= minTimeMs, {
    error: 'a server closes connections that ping more often than its --grpc-keepalive-min-time; see minTimeMs',
    path: ['timeMs'],
  });

const schema = z.strictObject({
  endpoints: z.union([z.string(), z.array(z.string()).min(1)]).default('127.0.0.1:2379'),
  tls: z.union([z.boolean(), tls]).optional(),
  auth: auth.optional(),
  timeoutMs: milliseconds.default(5_000),
  connectTimeoutMs: milliseconds.default(3_000),
  keepalive: z.union([z.literal(false), keepalive]).prefault({}),
  requireLeader: z.boolean().default(true),
  maxReceiveBytes: z
    .int()
    .positive()
    .max(2 ** 31 - 1)
    .default(2 ** 31 - 1),
  maxTxnOps: count.default(128),
  retry: z
    .strictObject({
      maxAttempts: count.default(20),
      initialMs: milliseconds.default(25),
      maxMs: milliseconds.default(1_000),
    })
    .prefault({}),
  coalesce: z.strictObject({ gets: z.boolean().default(false), puts: z.boolean().default(false) }).prefault({}),
  monotonicReads: z.boolean().default(false),
  autoSync: z
    .union([z.boolean(), z.strictObject({ intervalMs: milliseconds.optional(), mapAddress: func.optional() })])
    .default(false),
  clock: z.custom<Clock>((value) => typeof (value as Clock)?.now === 'function', 'expected a Clock').optional(),
  random: func.optional(),
  transport: func.optional(),
  telemetry: z
    .union([z.boolean(), z.strictObject({ captureKeys: z.enum(['none', 'prefix', 'full']).default('none') })])
    .default(true),
});

/**
 * Checks options and fills in what is missing.
 *
 * @throws InvalidArgumentError that names every option that is wrong.
 */
export function resolveOptions(options: EtcdOptions): ResolvedOptions {
  const parsed = schema.safeParse(options);
  if (!parsed.success) throw new InvalidArgumentError(`options: ${parsed.error.issues.map(describe).join('; ')}`);
  const { data } = parsed;
  const tlsOptions = typeof data.tls === 'object' ? (data.tls as TlsOptions) : undefined;
  const secureByDefault = data.tls === true || tlsOptions !== undefined;
  const written = typeof data.endpoints === 'string' ? [data.endpoints] : data.endpoints;
  return {
    endpoints: parseEndpoints(written, secureByDefault),
    tls: tlsOptions,
    secureByDefault,
    auth: data.auth as Credentials | undefined,
    timeoutMs: data.timeoutMs,
    connectTimeoutMs: data.connectTimeoutMs,
    keepalive: data.keepalive === false ? { timeMs: 0, timeoutMs: 0 } : data.keepalive,
    requireLeader: data.requireLeader,
    maxReceiveBytes: data.maxReceiveBytes,
    maxTxnOps: data.maxTxnOps,
    retry: data.retry,
    coalesce: data.coalesce,
    monotonicReads: data.monotonicReads,
    autoSync: resolveAutoSync(data.autoSync as EtcdOptions['autoSync']),
    clock: data.clock ?? systemClock,
    random: (data.random as (() => number) | undefined) ?? Math.random,
    transport: data.transport as TransportFactory | undefined,
    telemetry: {
      ...DEFAULT_TELEMETRY,
      ...(typeof data.telemetry === 'boolean' ? { enabled: data.telemetry } : data.telemetry),
    },
  };
}

/**
 * Endpoints as addresses; one written twice counts once.
 *
 * @throws InvalidArgumentError when there are none, or one cannot be read.
 */
export function parseEndpoints(written: readonly string[], secureByDefault: boolean): EndpointAddress[] {
  if (written.length === 0) throw new InvalidArgumentError('endpoints: name at least one');
  return uniqueAddresses(written.map((text) => parseEndpoint(text, secureByDefault)));
}

function resolveAutoSync(option: EtcdOptions['autoSync']): ResolvedAutoSync | undefined {
  if (!option) return undefined;
  const { intervalMs = 60_000, mapAddress = (url: string) => url } = option === true ? {} : option;
  return { intervalMs, mapAddress };
}

function describe(issue: z.core.$ZodIssue): string {
  const path = issue.path.map(String).join('.');
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => `${path === '' ? '' : `${path}.`}${key} is not an option`).join('; ');
  }
  return path === '' ? issue.message : `${path}: ${issue.message}`;
}
