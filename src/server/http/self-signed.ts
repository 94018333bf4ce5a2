/**
 * A certificate that a server makes for itself: what `--auto-tls` asks for.
 *
 * Connections are encrypted with it, but nobody can tell by it who is at the other end, unless they were given it: it is
 * for trying out. It is kept in a folder, as `cert.pem` and `key.pem`, and used again by the next start, as long as it
 * is valid and goes with its key; otherwise another takes its place. The key is the owner's to read, and nobody else's.
 *
 * Source: etcd's transport security guide (`--auto-tls`); RFC 5280.
 *
 * @module
 */
import { createPrivateKey, webcrypto, X509Certificate } from 'node:crypto';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { makeDirectory } from '../storage/make-directory.ts';
import { loadX509 } from './x509.ts';

/** What certificate there is to be. */
export interface SelfSignedOptions {
  /** Folder to keep it in; made if it is not there. */
  readonly directory: string;
  /** Addresses and names that it is for. */
  readonly hosts: readonly string[];
  /** How long it is valid, in years of 365 days. */
  readonly validityYears: number;
  /** The time of day, in ms since 1970. */
  readonly timeOfDayMs: number;
  /** Random bytes that nobody can guess. */
  readonly randomBytes: (count: number) => Uint8Array;
}

/** Where a certificate and its key are kept. */
export interface SelfSignedFiles {
  readonly certFile: string;
  readonly keyFile: string;
}

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const DAY_MS = 24 * 3_600_000;
/** As long as the largest that RFC 5280 allows, with a first bit of 0: a serial number is positive. */
const SERIAL_BYTES = 16;

/** Where a certificate is kept in a folder. */
export function selfSignedFiles(directory: string): SelfSignedFiles {
  return { certFile: join(directory, 'cert.pem'), keyFile: join(directory, 'key.pem') };
}

/**
 * Makes sure that there is a certificate.
 *
 * @returns Whether it had to be made.
 * @throws Error with Node's `code`: it can't be written.
 */
export async function ensureSelfSigned(options: SelfSignedOptions): Promise<boolean> {
  const { directory, timeOfDayMs } = options;
  const files = selfSignedFiles(directory);
  if (await isUsable(files, timeOfDayMs)) return false;
  const { cert, key } = await makeSelfSigned(options);
  await makeDirectory(directory);
  // A crash in between leaves a pair that does not go together, which is made anew.
  await replace(files.keyFile, key);
  await replace(files.certFile, cert);
  return true;
}

/** Whether both are there, go together, and are valid now. */
async function isUsable({ certFile, keyFile }: SelfSignedFiles, timeOfDayMs: number): Promise<boolean> {
  try {
    const cert = new X509Certificate(await readFile(certFile));
    const key = createPrivateKey(await readFile(keyFile));
    return (
      cert.checkPrivateKey(key) && Date.parse(cert.validFrom) <= timeOfDayMs && timeOfDayMs < Date.parse(cert.validTo)
    );
  } catch {
    return false;
  }
}

async function replace(path: string, text: string): Promise<void> {
  const temporary = `${path}.tmp`;
  await rm(temporary, { force: true });
  await writeFile(temporary, text, { mode: 0o600, flag: 'wx' });
  await rename(temporary, path);
}

/** A new certificate and its key, as PEM. */
export async function makeSelfSigned({
  hosts,
  validityYears,
  timeOfDayMs,
  randomBytes,
}: Omit<SelfSignedOptions, 'directory'>): Promise<{ readonly cert: string; readonly key: string }> {
  const x509 = await loadX509();
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const { serverAuth, clientAuth } = x509.ExtendedKeyUsage;
  const names = hosts.map((host) => ({ type: isIP(host) === 0 ? ('dns' as const) : ('ip' as const), value: host }));
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: [{ O: ['etcd'] }],
    serialNumber: serial(randomBytes(SERIAL_BYTES)),
    notBefore: new Date(timeOfDayMs),
    notAfter: new Date(timeOfDayMs + validityYears * 365 * DAY_MS),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature | x509.KeyUsageFlags.keyEncipherment, true),
      // Members show theirs to others as clients too.
      new x509.ExtendedKeyUsageExtension([serverAuth, clientAuth]),
      new x509.SubjectAlternativeNameExtension(names),
    ],
  });
  const key = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey);
  return { cert: `${certificate.toString('pem')}\n`, key: pem('PRIVATE KEY', Buffer.from(key)) };
}

function serial(bytes: Uint8Array): string {
  const [first = 0, ...rest] = bytes;
  return Buffer.from([(first & 0x7f) | 0x40, ...rest]).toString('hex');
}

function pem(label: string, der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}
