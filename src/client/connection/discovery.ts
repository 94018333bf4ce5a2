/**
 * Finding a cluster by DNS.
 *
 * Source: etcd's clustering guide, "DNS discovery"; RFC 2782 for the order of the answers.
 *
 * @module
 */

import { promises as dns } from 'node:dns';
import { UnavailableError } from '../errors.ts';

/** One SRV record. */
export interface SrvRecord {
  readonly name: string;
  readonly port: number;
  readonly priority: number;
  readonly weight: number;
}

/** How to look. */
export interface DiscoveryOptions {
  /** A suffix of the service's name, as etcd's `--discovery-srv-name`. Default: none. */
  readonly serviceName?: string | undefined;
  /** Resolves SRV records. Default: the system's resolver. */
  readonly resolveSrv?: ((name: string) => Promise<readonly SrvRecord[]>) | undefined;
}

/** DNS answers that mean "there are none", and not "something is broken". */
const NONE = new Set(['ENOTFOUND', 'ENODATA']);

/** The endpoints that a domain's SRV records name; secure ones when there are any, since clear text is never a fallback. */
export async function resolveEndpoints(domain: string, options: DiscoveryOptions): Promise<string[]> {
  const { serviceName, resolveSrv = dns.resolveSrv } = options;
  const suffix = serviceName === undefined ? '' : `-${serviceName}`;
  for (const [service, scheme] of [
    ['etcd-client-ssl', 'https'],
    ['etcd-client', 'http'],
  ] as const) {
    const name = `_${service}${suffix}._tcp.${domain}`;
    const records = await lookUp(name, resolveSrv);
    if (records.length > 0) {
      return [...records]
        .sort((a, b) => a.priority - b.priority || b.weight - a.weight)
        .map((record) => `${scheme}://${record.name.replace(/\.$/, '')}:${record.port}`);
    }
  }
  throw new UnavailableError(
    `no SRV records: _etcd-client-ssl${suffix}._tcp and _etcd-client${suffix}._tcp of ${domain}`,
  );
}

async function lookUp(
  name: string,
  resolveSrv: NonNullable<DiscoveryOptions['resolveSrv']>,
): Promise<readonly SrvRecord[]> {
  try {
    return await resolveSrv(name);
  } catch (cause) {
    if (NONE.has((cause as NodeJS.ErrnoException).code ?? '')) return [];
    throw new UnavailableError(`cannot resolve ${name}: ${(cause as Error).message}`, { cause });
  }
}
