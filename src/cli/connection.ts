/**
 * How a command reaches its cluster: the flags and the environment of `etcdctl`, so that what works there works here.
 *
 * A flag goes before its variable. A password is taken from the environment, a file or standard input rather than from
 * the command line, where every user of the machine can read it; it can be given there all the same, as with etcdctl.
 *
 * @module
 */
import { Etcd, type EtcdOptions } from '../index.ts';
import { UsageError } from './command.ts';

/** The flags, for `readArgs`. */
export const CONNECTION_FLAGS = {
  endpoints: { type: 'string' },
  user: { type: 'string' },
  password: { type: 'string' },
  cacert: { type: 'string' },
  cert: { type: 'string' },
  key: { type: 'string' },
  'command-timeout': { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const;

/** What was said with them. */
export type ConnectionValues = {
  readonly [Name in keyof typeof CONNECTION_FLAGS]?: (typeof CONNECTION_FLAGS)[Name]['type'] extends 'string'
    ? string | undefined
    : boolean | undefined;
};

/** For the usage of each command. */
export const CONNECTION_USAGE = `Connection:
  --endpoints LIST       members, with commas between them. Default: $ETCDCTL_ENDPOINTS, or 127.0.0.1:2379
  --user NAME[:PASSWORD] Default: $ETCDCTL_USER
  --password PASSWORD    better: $ETCDCTL_PASSWORD
  --cacert FILE          authorities to trust. Default: $ETCDCTL_CACERT
  --cert FILE, --key FILE  of this client. Default: $ETCDCTL_CERT, $ETCDCTL_KEY
  --command-timeout TIME how long a call may take. Default: $ETCDCTL_COMMAND_TIMEOUT, or 5s
  --json                 output for programs
`;

/** Opens a client; the caller closes it. @throws UsageError for flags that make no sense, EtcdError for an endpoint that is none. */
export function connect(values: ConnectionValues, environment: NodeJS.ProcessEnv): Etcd {
  return new Etcd(connectionOptions(values, environment));
}

/** The options of the client. @throws UsageError */
export function connectionOptions(values: ConnectionValues, environment: NodeJS.ProcessEnv): EtcdOptions {
  const said = (flag: keyof ConnectionValues): string | undefined => {
    const value = values[flag];
    if (typeof value === 'string') return value;
    const found = environment[`ETCDCTL_${flag.toUpperCase().replaceAll('-', '_')}`];
    return found === '' ? undefined : found;
  };
  const endpoints = said('endpoints')
    ?.split(',')
    .map((endpoint) => endpoint.trim())
    .filter((endpoint) => endpoint !== '');
  const timeout = said('command-timeout');
  return {
    endpoints: endpoints?.length === 0 ? undefined : endpoints,
    auth: credentials(said('user'), said('password')),
    tls: tls(said('cacert'), said('cert'), said('key')),
    timeoutMs: timeout === undefined ? undefined : durationMs('command-timeout', timeout),
  };
}

function credentials(user: string | undefined, password: string | undefined): EtcdOptions['auth'] {
  if (user === undefined) {
    if (password !== undefined) throw new UsageError('a password without --user');
    return undefined;
  }
  const colon = user.indexOf(':');
  if (colon > 0) return { username: user.slice(0, colon), password: user.slice(colon + 1) };
  if (password === undefined) throw new UsageError('the password is missing: $ETCDCTL_PASSWORD');
  return { username: user, password };
}

function tls(ca: string | undefined, cert: string | undefined, key: string | undefined): EtcdOptions['tls'] {
  if ((cert === undefined) !== (key === undefined)) throw new UsageError('--cert and --key go together');
  if (ca === undefined && cert === undefined) return undefined;
  const file = (path: string | undefined) => (path === undefined ? undefined : { path });
  return { ca: file(ca), cert: file(cert), key: file(key) };
}

const UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** A time as etcd's flags have it, `500ms` or `5s`, in milliseconds. @throws UsageError */
export function durationMs(flag: string, text: string): number {
  const [, count, unit = ''] = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text) ?? [];
  const value = Number(count) * (UNITS_MS[unit] ?? Number.NaN);
  if (value > 0) return value;
  throw new UsageError(`--${flag}: a time such as 500ms or 5s`);
}
