/**
 * Flags about TLS and authentication.
 *
 * @module
 */
import { bool, int, list, text } from './kinds.ts';

export const SECURITY = {
  'cert-file': text('', 'Certificate that clients are shown, as PEM.'),
  'key-file': text('', 'Its key.'),
  'client-cert-file': text('', 'Certificate that this server shows when it is a client.', { effect: 'none' }),
  'client-key-file': text('', 'Its key.', { effect: 'none' }),
  'client-cert-auth': bool(false, 'Ask clients for certificates.'),
  'client-crl-file': text('', 'Certificates of clients that are revoked.'),
  'client-cert-allowed-cn': text('', 'Common names one of which a client certificate must have; of a config file too.'),
  'client-cert-allowed-hostname': text('', 'Names one of which a client certificate must have.'),
  'trusted-ca-file': text('', 'CA of the clients, as PEM.'),
  'auto-tls': bool(false, 'Make a certificate for clients, below the data directory.'),
  'peer-cert-file': text('', 'Certificate that peers are shown.'),
  'peer-key-file': text('', 'Its key.'),
  'peer-client-cert-file': text('', 'Certificate that this server shows to peers.'),
  'peer-client-key-file': text('', 'Its key.'),
  'peer-client-cert-auth': bool(false, 'Ask peers for certificates.'),
  'peer-trusted-ca-file': text('', 'CA of the peers.'),
  'peer-cert-allowed-cn': text('', 'Common names one of which a peer certificate must have.'),
  'peer-cert-allowed-hostname': text('', 'Host names one of which a peer certificate must have.'),
  'peer-auto-tls': bool(false, 'Make a certificate for peers, below the data directory.'),
  'peer-crl-file': text('', 'Certificates of peers that are revoked.'),
  'peer-skip-client-san-verification': bool(false, 'Take peers from addresses that are not in their certificates.', {
    aliases: ['experimental-peer-skip-client-san-verification'],
  }),
  'self-signed-cert-validity': int(1, 'Life of certificates that are made here, in years.', { least: 0 }),
  'cipher-suites': list([], 'Cipher suites of TLS 1.2, by their standard names.'),
  'tls-min-version': text('TLS1.2', 'Oldest TLS: TLS1.2 or TLS1.3.'),
  'tls-max-version': text('', 'Newest TLS: TLS1.2 or TLS1.3.'),
  'auth-token': text('simple', "Kind of tokens: 'simple', or 'jwt,pub-key=…,priv-key=…,sign-method=…,ttl=…'."),
  'bcrypt-cost': int(10, 'Work for a password hash, from 4 to 31.', { least: 0 }),
  'auth-token-ttl': int(300, 'Life of a simple token after its last use, in seconds.', { least: 0 }),
} as const;
