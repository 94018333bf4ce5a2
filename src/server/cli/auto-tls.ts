/**
 * The flags `--auto-tls` and `--peer-auto-tls`: certificates that the server makes for itself, below its data directory.
 *
 * Where certificates are given as well, those count. The rest of what the flags say of TLS holds for either kind.
 *
 * @module
 */
import { join } from 'node:path';
import { ensureSelfSigned, type SelfSignedFiles, selfSignedFiles } from '../http/self-signed.ts';
import type { ServerLog } from '../log.ts';
import { secureBytes, timeOfDay } from '../system.ts';
import { SettingsError } from './errors.ts';
import type { Values } from './flags/index.ts';
import { isSocketFile } from './urls.ts';

/** A certificate that is to be there before the server starts. */
export interface OwnCertificate extends SelfSignedFiles {
  /** Where it is kept. */
  readonly directory: string;
  readonly hosts: readonly string[];
  readonly validityYears: number;
}

/** The data directory: the one that is given, or one by the member's name. */
export function dataDirOf(values: Values): string {
  return values['data-dir'] === '' ? `${values.name}.etcd` : values['data-dir'];
}

/**
 * The certificate to make for a side; undefined if none is.
 *
 * @param warn Hears that the flag has no effect.
 * @throws {@link SettingsError}
 */
export function ownCertificateOf(
  values: Values,
  side: 'client' | 'peer',
  warn: (message: string) => void = () => {},
): OwnCertificate | undefined {
  const prefix = side === 'client' ? '' : 'peer-';
  if (!values[`${prefix}auto-tls` as 'auto-tls']) return undefined;
  if (values[`${prefix}cert-file` as 'cert-file'] !== '' || values[`${prefix}key-file` as 'key-file'] !== '') {
    warn(`ignoring ${side} auto TLS since certs given`);
    return undefined;
  }
  const validityYears = values['self-signed-cert-validity'];
  if (validityYears <= 0) throw new SettingsError('selfSignedCertValidity is invalid,it should be greater than 0');
  const urls =
    side === 'client'
      ? [...values['listen-client-urls'], ...values['listen-client-http-urls']]
      : values['listen-peer-urls'];
  const hosts = new Set(urls.filter((url) => !isSocketFile(url) && url.host !== '').map(({ host }) => host));
  // Every address of the machine, or no address at all: a name has to be there.
  if (hosts.size === 0) hosts.add('localhost');
  if (hosts.has('localhost')) hosts.add('127.0.0.1');
  const directory = join(dataDirOf(values), 'fixtures', side);
  return { ...selfSignedFiles(directory), directory, hosts: [...hosts], validityYears };
}

/** Makes what is not there yet. @throws Error with Node's `code`: a file can't be written. */
export async function makeCertificates(certificates: readonly OwnCertificate[], log: ServerLog): Promise<void> {
  for (const { directory, hosts, validityYears, certFile } of certificates) {
    const kept = { directory, hosts, validityYears, timeOfDayMs: timeOfDay(), randomBytes: secureBytes };
    const made = await ensureSelfSigned(kept);
    const message = made
      ? 'created a self-signed certificate'
      : 'using the self-signed certificate of an earlier start';
    log.write('info', 'cli/auto-tls.ts', message, { 'cert-file': certFile, hosts });
  }
}
