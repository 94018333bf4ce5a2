/**
 * From the flags about other members to where the server listens to them, and with what certificates.
 *
 * @module
 */
import type { PeerAddress, PeerTls } from '../options.ts';
import { ownCertificateOf } from './auto-tls.ts';
import { SettingsError } from './errors.ts';
import type { Values } from './flags/index.ts';
import { tlsVersionsOf, type Warn } from './listening.ts';
import { isSecure, isSocketFile, type ServerUrl } from './urls.ts';

/** Where to listen to other members, and with what. @throws {@link SettingsError} */
export function peersOf(values: Values, warn: Warn): { listenPeers: PeerAddress[]; peerTls: PeerTls | undefined } {
  const urls = values['listen-peer-urls'];
  const peerTls = tlsOf(values);
  const listenPeers = urls.map((url) => addressOf(url));
  for (const url of urls) {
    if (isSecure(url) && peerTls === undefined)
      throw new SettingsError(
        `cannot listen on TLS for ${url.text.replace(/^\w+:\/\//, '')}: KeyFile and CertFile are not presented`,
      );
    if (!isSecure(url) && peerTls !== undefined)
      warn('scheme is HTTP while key and cert files are present; ignoring key and cert files', {
        'peer-url': url.text,
      });
  }
  return { listenPeers, peerTls };
}

function addressOf(url: ServerUrl): PeerAddress {
  if (isSocketFile(url)) return { path: url.host, secure: isSecure(url) };
  return { host: url.host === 'localhost' ? '127.0.0.1' : url.host, port: url.port, secure: isSecure(url) };
}

function tlsOf(values: Values): PeerTls | undefined {
  const { 'peer-trusted-ca-file': caFile } = values;
  const own = ownCertificateOf(values, 'peer');
  const { certFile, keyFile } = own ?? { certFile: values['peer-cert-file'], keyFile: values['peer-key-file'] };
  if (certFile === '' && keyFile === '') return undefined;
  if (certFile === '' || keyFile === '')
    throw new SettingsError(`KeyFile and CertFile must both be present[key: ${keyFile}, cert: ${certFile}]`);
  // Go falls back on the system's authorities, which would let in whoever has a certificate of any of them.
  if (values['peer-client-cert-auth'] && caFile === '')
    throw new SettingsError('--peer-client-cert-auth needs --peer-trusted-ca-file');
  return {
    certFile,
    keyFile,
    caFile: given(caFile),
    clientCertFile: given(values['peer-client-cert-file']),
    clientKeyFile: given(values['peer-client-key-file']),
    crlFile: given(values['peer-crl-file']),
    allowedCommonNames: given(values['peer-cert-allowed-cn'])?.split(','),
    allowedHostnames: given(values['peer-cert-allowed-hostname'])?.split(','),
    skipAddressCheck: values['peer-skip-client-san-verification'],
    // Nobody vouches for certificates that members make for themselves.
    trustAnyServer: own !== undefined,
    ...tlsVersionsOf(values),
  };
}

function given(text: string): string | undefined {
  return text === '' ? undefined : text;
}
