/** Certificates for TLS tests: a CA of their own, and whatever it signs, as PEM files in a temporary folder. */
import { generateKeyPairSync, webcrypto } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import type * as X509 from '@peculiar/x509';
import { loadX509 } from '../../src/server/http/x509.ts';
import { TempFolder } from './lifeline.ts';

/** One certificate and its key, in memory and on disk. */
export interface CertificateFiles {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly certPath: string;
  readonly keyPath: string;
}

/** What a certificate says. */
export interface CertificateOptions {
  /** Base name of the files; also the common name unless `commonName` is given. */
  name: string;
  /** With an empty one the certificate has no common name at all. */
  commonName?: string;
  /** Subject alternative names; what looks like an IPv4 address becomes an IP name. */
  hosts?: readonly string[];
  /** Default: both, since etcd's JSON gateway dials its own port with the server's certificate. */
  usage?: 'server' | 'client' | 'both';
  notBefore?: Date;
  notAfter?: Date;
}

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const HOUR_MS = 3_600_000;
const LOOPBACK = ['localhost', '127.0.0.1'];

/** A certificate authority in a folder of its own. Dispose it to remove the files. */
export class Certificates implements AsyncDisposable {
  readonly ca: CertificateFiles;
  readonly #folder: TempFolder;
  readonly #x509: typeof X509;
  readonly #issuer: X509.X509Certificate;
  readonly #issuerKeys: webcrypto.CryptoKeyPair;
  #issued = 1;

  private constructor(
    folder: TempFolder,
    x509: typeof X509,
    issuer: X509.X509Certificate,
    issuerKeys: webcrypto.CryptoKeyPair,
    ca: CertificateFiles,
  ) {
    this.#folder = folder;
    this.#x509 = x509;
    this.#issuer = issuer;
    this.#issuerKeys = issuerKeys;
    this.ca = ca;
  }

  static async create(name = 'etcdkit test CA'): Promise<Certificates> {
    const x509 = await loadX509();
    const folder = new TempFolder('etcdkit-certificates');
    const keys = await newKeys();
    const issuer = await x509.X509CertificateGenerator.createSelfSigned({
      name: [{ CN: [name] }],
      serialNumber: '01',
      notBefore: new Date(Date.now() - HOUR_MS),
      notAfter: new Date(Date.now() + 24 * HOUR_MS),
      signingAlgorithm: ALGORITHM,
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(true, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false, webcrypto),
      ],
    });
    return new Certificates(folder, x509, issuer, keys, await writePair(folder, 'ca', issuer, keys));
  }

  /** A certificate for this machine's loopback names. */
  server(name = 'server'): Promise<CertificateFiles> {
    return this.issue({ name, hosts: LOOPBACK });
  }

  /** A client certificate; etcd takes its common name for the user name when authentication is on. */
  client(user: string): Promise<CertificateFiles> {
    return this.issue({ name: `client-${this.#issued}`, commonName: user, usage: 'client' });
  }

  /** A server certificate that is sound but for other hosts than the ones tests connect to. */
  wrongName(name = 'wrong-name'): Promise<CertificateFiles> {
    return this.issue({ name, hosts: ['elsewhere.invalid', '192.0.2.1'] });
  }

  /** A certificate that ran out an hour ago, otherwise fit for servers and clients. */
  expired(name = 'expired', commonName = name): Promise<CertificateFiles> {
    const now = Date.now();
    const period = { notBefore: new Date(now - 2 * HOUR_MS), notAfter: new Date(now - HOUR_MS) };
    return this.issue({ name, commonName, hosts: LOOPBACK, ...period });
  }

  /** A list of certificates that are revoked, as a PEM file. */
  async revoke(...certificates: readonly CertificateFiles[]): Promise<string> {
    const x509 = this.#x509;
    const crl = await x509.X509CrlGenerator.create({
      issuer: this.#issuer.subject,
      thisUpdate: new Date(Date.now() - HOUR_MS),
      nextUpdate: new Date(Date.now() + 24 * HOUR_MS),
      entries: certificates.map(({ cert }) => ({
        serialNumber: new x509.X509Certificate(cert).serialNumber,
        revocationDate: new Date(Date.now() - HOUR_MS),
      })),
      signingAlgorithm: ALGORITHM,
      signingKey: this.#issuerKeys.privateKey,
    });
    const path = this.#folder.file(`revoked-${++this.#issued}.pem`);
    // The library has a label of its own.
    await writeFile(path, crl.toString('pem').replaceAll(/(BEGIN|END) (X509 )?CRL/g, '$1 X509 CRL'));
    return path;
  }

  /** Signs whatever is asked for. */
  async issue(options: CertificateOptions): Promise<CertificateFiles> {
    const { name, commonName = name, hosts = [], usage = 'both' } = options;
    const x509 = this.#x509;
    const keys = await newKeys();
    const purposes: string[] = [];
    if (usage !== 'client') purposes.push(x509.ExtendedKeyUsage.serverAuth);
    if (usage !== 'server') purposes.push(x509.ExtendedKeyUsage.clientAuth);
    const names = hosts.map((host) => ({
      type: /^[\d.]+$/.test(host) ? ('ip' as const) : ('dns' as const),
      value: host,
    }));
    const extensions: X509.Extension[] = [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension(purposes),
      await x509.AuthorityKeyIdentifierExtension.create(this.#issuerKeys.publicKey, false, webcrypto),
    ];
    if (names.length > 0) extensions.push(new x509.SubjectAlternativeNameExtension(names));
    const certificate = await x509.X509CertificateGenerator.create({
      subject: [commonName ? { CN: [commonName] } : { O: [name] }],
      issuer: this.#issuer.subjectName,
      serialNumber: (++this.#issued).toString(16).padStart(4, '0'),
      notBefore: options.notBefore ?? new Date(Date.now() - HOUR_MS),
      notAfter: options.notAfter ?? new Date(Date.now() + 24 * HOUR_MS),
      signingAlgorithm: ALGORITHM,
      publicKey: keys.publicKey,
      signingKey: this.#issuerKeys.privateKey,
      extensions,
    });
    return writePair(this.#folder, name, certificate, keys);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#folder.remove();
  }
}

/** Writes an RS256 key pair for etcd's `--auth-token jwt,…` and returns where it is. */
export async function writeJwtKeys(folder: TempFolder): Promise<{ publicPath: string; privatePath: string }> {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  const paths = { publicPath: folder.file('jwt.pub.pem'), privatePath: folder.file('jwt.key.pem') };
  await writeFile(paths.publicPath, publicKey);
  await writeFile(paths.privatePath, privateKey, { mode: 0o600 });
  return paths;
}

async function writePair(
  folder: TempFolder,
  name: string,
  certificate: X509.X509Certificate,
  keys: webcrypto.CryptoKeyPair,
): Promise<CertificateFiles> {
  const cert = Buffer.from(certificate.toString('pem'));
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  const key = Buffer.from(`-----BEGIN PRIVATE KEY-----\n${lines.join('\n')}\n-----END PRIVATE KEY-----\n`);
  const files = { cert, key, certPath: folder.file(`${name}.pem`), keyPath: folder.file(`${name}.key.pem`) };
  await writeFile(files.certPath, cert);
  await writeFile(files.keyPath, key, { mode: 0o600 });
  return files;
}

async function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
}
