/**
 * Whether whoever shows a certificate comes from an address that the certificate is for.
 *
 * A certificate of a cluster's authority that was stolen is of use only from where its owner lives. One without names of
 * hosts or addresses is for any. Names are looked up both ways: the address may be one of a name's, or have a name that
 * is in the certificate; of `*.cluster.local` only the second can be asked. A question that the DNS does not answer is a
 * no.
 *
 * Source: etcd's transport security guide ("Notes for TLS authentication") and its servers 3.4 and 3.5 as observed.
 *
 * @module
 */
import type { X509Certificate } from 'node:crypto';
import { lookup, reverse } from 'node:dns/promises';
import { isIPv6 } from 'node:net';

/** Of the DNS, what is asked here. Each rejects, or gives nothing, where there is no answer. */
export interface Names {
  readonly addressesOf: (name: string) => Promise<readonly string[]>;
  readonly namesOf: (address: string) => Promise<readonly string[]>;
}

/** As the machine is set up to ask. */
export const systemNames: Names = {
  addressesOf: async (name) => (await lookup(name, { all: true })).map(({ address }) => address),
  namesOf: (address) => reverse(address),
};

/** See the head of this file. @param remote The address that the connection comes from. Never rejects. */
export async function isFor(
  certificate: Pick<X509Certificate, 'subjectAltName' | 'checkIP'>,
  remote: string,
  { addressesOf, namesOf }: Names = systemNames,
): Promise<boolean> {
  const { names, hasAddresses } = alternativesOf(certificate.subjectAltName ?? '');
  const address = plainAddress(remote);
  if (hasAddresses && certificate.checkIP(address) !== undefined) return true;
  if (names.length === 0) return !hasAddresses;
  const exact = names.filter((name) => !name.startsWith('*.'));
  for (const name of exact) if ((await orNothing(addressesOf(name))).some((one) => one === address)) return true;
  const own = (await orNothing(namesOf(address))).map((name) => name.toLowerCase().replace(/\.$/, ''));
  return own.some((name) => names.some((one) => (one.startsWith('*.') ? name.endsWith(one.slice(1)) : name === one)));
}

/** `DNS:a.example, IP Address:10.0.0.1, …`; what is no plain name stands in quotes, and is none of these. */
function alternativesOf(text: string): { names: readonly string[]; hasAddresses: boolean } {
  const found = [...text.matchAll(/([\w ]+):("(?:[^"\\]|\\.)*"|[^,]*)(?:, |$)/g)];
  const names = found.filter(([, kind]) => kind === 'DNS').map(([, , name = '']) => name.toLowerCase());
  return { names, hasAddresses: found.some(([, kind]) => kind === 'IP Address') };
}

/** Without what a socket for both kinds puts before an address of IPv4. */
function plainAddress(address: string): string {
  return isIPv6(address) ? address.replace(/^::ffff:(?=\d+\.)/i, '') : address;
}

async function orNothing(answer: Promise<readonly string[]>): Promise<readonly string[]> {
  try {
    return await answer;
  } catch {
    return [];
  }
}
