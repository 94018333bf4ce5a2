/**
 * `@peculiar/x509`, loaded when a certificate is to be made and not before.
 *
 * @module
 */
import { webcrypto } from 'node:crypto';
import type * as X509 from '@peculiar/x509';

/** What the package's dependency injection asks for as it loads. Nothing here looks anything up with it. */
const METADATA: Readonly<Record<string, () => unknown>> = {
  getMetadata: () => undefined,
  getOwnMetadata: () => undefined,
  defineMetadata: () => undefined,
  metadata: () => () => undefined,
};

/** Loads it. `Reflect` is as it was afterwards: a program may look there whether it has metadata. */
export async function loadX509(): Promise<typeof X509> {
  const reflect = Reflect as unknown as Record<string, unknown>;
  const lent = Object.entries(METADATA).filter(([name]) => reflect[name] === undefined);
  for (const [name, stand] of lent) reflect[name] = stand;
  try {
    const x509 = await import('@peculiar/x509');
    x509.cryptoProvider.set(webcrypto);
    return x509;
  } finally {
    for (const [name, stand] of lent) if (reflect[name] === stand) delete reflect[name];
  }
}
