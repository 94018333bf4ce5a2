/**
 * What this member shows to others that it connects to, and what it takes for theirs.
 *
 * @module
 */
import { readFileSync } from 'node:fs';
import { type ConnectionOptions, checkServerIdentity } from 'node:tls';
import { hasAllowedName } from '../http/tls.ts';
import type { PeerTls } from '../options.ts';

/** Credentials to connect with: the files are read at each call, since certificates are renewed. @throws Error */
export function credentialsOf(tls: PeerTls): () => ConnectionOptions {
  const { certFile, keyFile, clientCertFile, clientKeyFile, caFile, trustAnyServer, minVersion, maxVersion } = tls;
  return () => ({
    cert: readFileSync(clientCertFile ?? certFile, 'utf8'),
    key: readFileSync(clientKeyFile ?? keyFile, 'utf8'),
    ...(caFile !== undefined && { ca: readFileSync(caFile, 'utf8') }),
    checkServerIdentity: (host, certificate) =>
      checkServerIdentity(host, certificate) ?? (hasAllowedName(certificate, tls) ? undefined : notAllowed()),
    ...(trustAnyServer && { rejectUnauthorized: false }),
    ...(minVersion !== undefined && { minVersion }),
    ...(maxVersion !== undefined && { maxVersion }),
  });
}

function notAllowed(): Error {
  return new Error('the certificate of the other member has none of the names that are allowed');
}
