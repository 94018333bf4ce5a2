import { describe, expect, it } from 'vitest';
import { parseConfigFile } from '../../../src/server/cli/config-file.ts';
import { SettingsError } from '../../../src/server/cli/errors.ts';

function read(text: string) {
  const unknown: string[] = [];
  const given = parseConfigFile(text, (key) => unknown.push(key));
  return { given, values: given.values(), unknown };
}

const SAMPLE = `
name: m1
data-dir: /var/lib/etcd
heartbeat-interval: 50
quota-backend-bytes: 1024
listen-client-urls: http://127.0.0.1:2379,https://127.0.0.1:2380
pre-vote: false
log-outputs: [stderr, /tmp/log]
experimental-watch-progress-notify-interval: 1000000000
grpc-keepalive-min-time: 5000000000
cors:
client-transport-security:
  cert-file: c.pem
  key-file: k.pem
  client-cert-auth: true
  trusted-ca-file: ca.pem
  allowed-cn: ann,bob
peer-transport-security:
  cert-file: pc.pem
  allowed-cn: peer
nonsense: 1
`;

describe('the config file', () => {
  it('has the names of flags, and sections for TLS', () => {
    const { values, unknown, given } = read(SAMPLE);
    expect(values).toMatchObject({
      name: 'm1',
      'data-dir': '/var/lib/etcd',
      'heartbeat-interval': 50,
      'quota-backend-bytes': 1024,
      'pre-vote': false,
      'log-outputs': ['stderr', '/tmp/log'],
      'watch-progress-notify-interval': 1_000,
      'grpc-keepalive-min-time': 5_000,
      'cert-file': 'c.pem',
      'key-file': 'k.pem',
      'client-cert-auth': true,
      'trusted-ca-file': 'ca.pem',
      'client-cert-allowed-cn': 'ann,bob',
      'peer-cert-file': 'pc.pem',
      'peer-cert-allowed-cn': 'peer',
    });
    expect(values['listen-client-urls']).toHaveLength(2);
    expect(given.has('cors')).toBe(false);
    expect(unknown).toEqual(['nonsense']);
  });

  it('may be JSON, or empty', () => {
    expect(read('{"name": "a", "max-txn-ops": 3}').values).toMatchObject({ name: 'a', 'max-txn-ops': 3 });
    expect(read('').given.names).toEqual([]);
  });

  it.each([
    ['pre-vote: "false"', 'invalid pre-vote in the config file: cannot unmarshal a string into a bool'],
    [
      'heartbeat-interval: "5"',
      'invalid heartbeat-interval in the config file: cannot unmarshal a string into a number',
    ],
    ['name: [a]', 'invalid name in the config file: cannot unmarshal a list into a string'],
    ['client-transport-security: 5', 'the config file has the wrong form'],
    ['- a', 'the config file has the wrong form'],
    ['name: "secret', 'the config file is no YAML (line 1)'],
  ])('refuses %j', (text, message) => {
    expect(() => read(text)).toThrow(SettingsError);
    expect(() => read(text)).toThrow(message);
  });

  it('quotes nothing of a file that is no YAML', () => {
    let message = '';
    try {
      read('discovery-password: "hunter2');
    } catch (error) {
      message = String(error);
    }
    expect(message).toContain('no YAML');
    expect(message).not.toContain('hunter2');
  });
});
