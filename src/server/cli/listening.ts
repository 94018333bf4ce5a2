/**
 * From the URLs and TLS files of the flags to the addresses that the server listens on.
 *
 * Two URLs with the same host and port, one with TLS and one without, are one address that takes both. A host
 * `localhost` is 127.0.0.1, which is what clients that know no IPv6 try, and what etcd takes.
 *
 * @module
 */
import { getCiphers } from 'node:tls';
import type { ServerAddress, ServerTls } from '../options.ts';
import { ownCertificateOf } from './auto-tls.ts';
import { SettingsError } from './errors.ts';
import type { Values } from './flags/index.ts';
import { bindingFault, isSecure, isSocketFile, type ServerUrl } from './urls.ts';

/** Hears what is odd, though no error. */
export type Warn = (message: string, fields: Readonly<Record<string, unknown>>) => void;

/** Where to listen, and with what. @throws {@link SettingsError} */
export function listeningOf(values: Values, warn: Warn): { listen: ServerAddress[]; tls: ServerTls | undefined } {
  const grpc = values['listen-client-urls'];
  const http = values['listen-client-http-urls'];
  const metrics = values['listen-metrics-urls'];
  for (const url of [...values['listen-peer-urls'], ...grpc, ...http, ...metrics]) {
    const fault = bindingFault(url);
    if (fault !== undefined) throw new SettingsError(fault);
  }
  const tls = tlsOf(values);
  const listen = [
    ...addressesOf(grpc, http.length > 0 ? 'grpc' : 'all'),
    ...addressesOf(http, 'http'),
    ...addressesOf(metrics, 'metrics'),
  ];
  for (const url of [...grpc, ...http, ...metrics]) {
    if (isSecure(url) && tls === undefined)
      throw new SettingsError(
        `cannot listen on TLS for ${url.text.replace(/^\w+:\/\//, '')}: KeyFile and CertFile are not presented`,
      );
    if (!isSecure(url) && tls !== undefined)
      warn('scheme is HTTP while key and cert files are present; ignoring key and cert files', {
        'client-url': url.text,
      });
  }
  if (http.length === 0)
    warn('Running http and grpc server on single port. This is not recommended for production.', {});
  return { listen, tls };
}

function addressesOf(urls: readonly ServerUrl[], serve: ServerAddress['serve']): ServerAddress[] {
  const byPlace = new Map<string, ServerAddress>();
  for (const url of urls) {
    const host = url.host === 'localhost' ? '127.0.0.1' : url.host;
    const at = isSocketFile(url) ? { path: url.host } : { host, port: url.port };
    const place = JSON.stringify(at);
    const transport = isSecure(url) ? 'tls' : 'plain';
    const other = byPlace.get(place);
    byPlace.set(place, { at, serve, transport: other && other.transport !== transport ? 'both' : transport });
  }
  return [...byPlace.values()];
}

const VERSIONS: Readonly<Record<string, 'TLSv1.2' | 'TLSv1.3'>> = { 'TLS1.2': 'TLSv1.2', 'TLS1.3': 'TLSv1.3' };

function tlsOf(values: Values): ServerTls | undefined {
  const { 'trusted-ca-file': caFile } = values;
  const { certFile, keyFile } = ownCertificateOf(values, 'client') ?? {
    certFile: values['cert-file'],
    keyFile: values['key-file'],
  };
  if (certFile === '' && keyFile === '') return undefined;
  if (certFile === '' || keyFile === '')
    throw new SettingsError(`KeyFile and CertFile must both be present[key: ${keyFile}, cert: ${certFile}]`);
  // Go falls back on the system's authorities, which would let in whoever has a certificate of any of them.
  if (values['client-cert-auth'] && caFile === '')
    throw new SettingsError('--client-cert-auth needs --trusted-ca-file');
  const crlFile = values['client-crl-file'];
  return {
    certFile,
    keyFile,
    caFile: caFile === '' ? undefined : caFile,
    clientCertAuth: values['client-cert-auth'],
    crlFile: crlFile === '' ? undefined : crlFile,
    allowedHostnames: names(values['client-cert-allowed-hostname']),
    allowedCommonNames: names(values['client-cert-allowed-cn']),
    ...tlsVersionsOf(values),
  };
}

/** What may be spoken, to clients and members alike. @throws {@link SettingsError} */
export function tlsVersionsOf(values: Values): Pick<ServerTls, 'cipherSuites' | 'minVersion' | 'maxVersion'> {
  const minVersion = versionOf('tls-min-version', values['tls-min-version']);
  const maxVersion = versionOf('tls-max-version', values['tls-max-version']);
  if (minVersion !== undefined && maxVersion !== undefined && minVersion > maxVersion)
    throw new SettingsError(
      `min version (${values['tls-min-version']}) is greater than max version (${values['tls-max-version']})`,
    );
  const suites = values['cipher-suites'];
  if (suites.length > 0 && minVersion === 'TLSv1.3')
    throw new SettingsError('cipher suites cannot be configured when only TLS1.3 is enabled');
  return { cipherSuites: suites.length === 0 ? undefined : suites.map(cipherOf), minVersion, maxVersion };
}

function names(text: string): string[] | undefined {
  return text === '' ? undefined : text.split(',');
}

function versionOf(flag: string, text: string): 'TLSv1.2' | 'TLSv1.3' | undefined {
  if (text === '') return undefined;
  const version = VERSIONS[text];
  if (version === undefined) throw new SettingsError(`unexpected TLS version "${text}" in --${flag}`);
  return version;
}

/** OpenSSL's name for a cipher suite, of its standard name (RFC 5246, RFC 5289, RFC 7905), as Go has it. */
export function cipherOf(standard: string): string {
  const name = standard
    .replace(/^TLS_/, '')
    .replace(/^RSA_WITH_/, '')
    .replace('_WITH_', '_')
    .replace(/AES_(128|256)_CBC_SHA$/, 'AES$1-SHA')
    .replace(/AES_(128|256)_CBC_/, 'AES$1-')
    .replace(/AES_(128|256)_/, 'AES$1-')
    .replace(/(CHACHA20_POLY1305)_SHA256$/, '$1')
    .replaceAll('_', '-');
  if (!standard.startsWith('TLS_') || !getCiphers().includes(name.toLowerCase()))
    throw new SettingsError(`unexpected TLS cipher suite "${standard}"`);
  return name;
}
