/**
 * The ports of a server, with the services of its member on them.
 *
 * They open all or none. Every one has the same services, as far as it serves them.
 *
 * @module
 */
import { systemClock } from '../support/clock.ts';
import { createMethods } from './api/methods.ts';
import type { ServerMetrics } from './http/metrics.ts';
import { openPort, type Port, type PortOptions } from './http/port.ts';
import type { PortTlsOptions } from './http/tls.ts';
import { silentLog } from './log.ts';
import type { ServingMember } from './member/serving.ts';
import type { EtcdServerOptions, ServerAddress, ServerTls } from './options.ts';
import { removeSocket } from './socket-file.ts';
import { randomBelow } from './system.ts';
import { memberAttributes } from './tracing.ts';
import { tracedMethods } from './tracing-otel.ts';

const DEFAULT_HOST = '127.0.0.1';
const DEFAULT_MAX_REQUEST_BYTES = 1_572_864;
/** What a message may have besides a request of the largest size. */
const MESSAGE_OVERHEAD_BYTES = 512 * 1024;
const DEFAULT_ELECTION_MS = 1_000;
const DEFAULT_PROGRESS_MS = 600_000;
/** As fine as a random fraction need be. */
const FRACTIONS = 2 ** 32;

/** Ports that are open. */
export interface OpenPorts {
  /** Where each of those for clients listens, in the order in which they were asked for. */
  readonly list: readonly { readonly address: string; readonly secure: boolean }[];
  /** Where the first one does. */
  readonly endpoint: string;
  /** Its URL. */
  readonly url: string;
  /** URLs that clients are to be told. */
  readonly clientUrls: readonly string[];
  /** Stops all. @param graceMs How long calls in work may take. */
  close(graceMs: number): Promise<void>;
}

/**
 * Opens all ports that the options name.
 *
 * @param ready Clients are served from when it has resolved; what is asked before waits. Metrics are served at once.
 * @param background Whether nothing of it keeps the process alive.
 * @throws Error of the first that can't be opened; none is open then.
 */
export async function openPorts(
  options: EtcdServerOptions,
  member: ServingMember,
  metrics: ServerMetrics,
  ready: Promise<void>,
  background = false,
): Promise<OpenPorts> {
  const { host = DEFAULT_HOST, port = 0, tls } = options;
  const addresses: readonly ServerAddress[] = options.listen ?? [
    { at: { host, port }, transport: tls ? 'tls' : 'plain', serve: 'all' },
  ];
  const common = shared(options, member, metrics);
  const open: Port[] = [];
  const close = async (graceMs: number): Promise<void> => {
    await Promise.all(open.map((one) => one.close({ graceMs })));
  };
  metrics.serve(member, common.methods);
  try {
    for (const address of addresses) {
      if ('path' in address.at) await removeSocket(address.at.path);
      open.push(
        await openPort({
          ...common,
          ...specific(address, tls),
          ready: address.serve === 'metrics' ? undefined : ready,
          background,
        }),
      );
    }
  } catch (error) {
    await close(0);
    throw error;
  }
  const list = addresses.flatMap(({ transport, serve }, at) => {
    const address = open[at]?.address;
    return address === undefined || serve === 'metrics' ? [] : [{ address, secure: transport !== 'plain' }];
  });
  const endpoint = open[0]?.address ?? '';
  const url = urlOf(addresses[0], endpoint);
  return { list, endpoint, url, clientUrls: options.advertiseClientUrls ?? [url], close };
}

function shared(options: EtcdServerOptions, member: ServingMember, metrics: ServerMetrics) {
  const { maxRequestBytes = DEFAULT_MAX_REQUEST_BYTES, random = randomBelow, log = silentLog, keepalive } = options;
  const clock = options.clock ?? systemClock;
  const services = createMethods(member, {
    maxTxnOps: options.maxTxnOps ?? 128,
    maxRequestBytes,
    watchProgressMs: options.watchProgressMs ?? DEFAULT_PROGRESS_MS,
    random: () => random(FRACTIONS) / FRACTIONS,
    electionTimeoutMs: options.electionMs ?? DEFAULT_ELECTION_MS,
    clientCertAuth: options.tls?.clientCertAuth,
    notServingOnDefragment: options.notServingOnDefragment,
  });
  const { tracing = true } = options;
  const methods = tracing ? tracedMethods(services, memberAttributes(member.id)) : services;
  return {
    methods: metrics.callTimes?.around(methods, clock) ?? methods,
    member,
    metrics,
    clock,
    // Of a fault in the server the caller learns nothing, so somebody else has to.
    report: (error: unknown, path: string) =>
      log.write('error', 'open-ports.ts', 'a request failed by a fault of the server', { method: path, error }),
    receiveLimitBytes: maxRequestBytes + MESSAGE_OVERHEAD_BYTES,
    maxConcurrentStreams: options.maxConcurrentStreams,
    keepalive: keepalive && {
      ...(keepalive.minTimeMs !== undefined && { minClientIntervalMs: keepalive.minTimeMs }),
      // Never is later than anything.
      ...(keepalive.intervalMs !== undefined && { intervalMs: keepalive.intervalMs || Number.MAX_SAFE_INTEGER }),
      ...(keepalive.timeoutMs !== undefined && { timeoutMs: keepalive.timeoutMs || Number.MAX_SAFE_INTEGER }),
    },
    cors: options.cors,
    hostWhitelist: options.hostWhitelist,
    gateway: options.gateway,
  } satisfies Partial<PortOptions>;
}

function specific({ at, transport, serve }: ServerAddress, tls: ServerTls | undefined) {
  return {
    listen: at,
    tls: transport === 'plain' || tls === undefined ? undefined : portTls(tls),
    clear: transport !== 'tls',
    grpc: serve === 'all' || serve === 'grpc',
    http: serve !== 'grpc',
    ...(serve === 'metrics' && { gateway: false }),
  };
}

function portTls(tls: ServerTls): PortTlsOptions {
  return {
    cert: { path: tls.certFile },
    key: { path: tls.keyFile },
    clientCa: tls.caFile === undefined ? undefined : { path: tls.caFile },
    clientCrl: tls.crlFile === undefined ? undefined : { path: tls.crlFile },
    allowedHostnames: tls.allowedHostnames,
    allowedCommonNames: tls.allowedCommonNames,
    minVersion: tls.minVersion,
    maxVersion: tls.maxVersion,
    ciphers: tls.cipherSuites?.join(':'),
  };
}

function urlOf(address: ServerAddress | undefined, endpoint: string): string {
  if (address === undefined) return '';
  const secure = address.transport === 'tls';
  if ('path' in address.at) return `${secure ? 'unixs' : 'unix'}://${endpoint}`;
  return `${secure ? 'https' : 'http'}://${endpoint}`;
}
