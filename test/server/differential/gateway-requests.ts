/** Requests by HTTP, in order: the later ones find what the earlier ones wrote. */

export interface HttpRequest {
  /** Default: POST with a body, GET without one. */
  readonly method?: string | undefined;
  readonly path: string;
  /** As it is sent. */
  readonly body?: string | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /**
   * Where not everything is the same: only the status is compared, that and the headers, or these and the code in the
   * body, whose words are those of Go's library.
   */
  readonly only?: 'status' | 'headers' | 'code' | undefined;
}

const A = 'YQ==';
const Z = 'eg==';

function post(path: string, body: unknown, headers?: Readonly<Record<string, string>>): HttpRequest {
  return { path: `/v3/${path}`, body: typeof body === 'string' ? body : JSON.stringify(body), headers };
}

/** A request whose body is none. */
function bad(body: unknown): HttpRequest {
  return { ...post('kv/range', body), only: 'code' };
}

const PAGES: readonly HttpRequest[] = [
  { path: '/health' },
  { path: '/health?serializable=true' },
  { path: '/health?exclude=NOSPACE' },
  { method: 'POST', path: '/health', body: '{}' },
  { method: 'HEAD', path: '/health' },
  { path: '/livez' },
  { path: '/livez?verbose' },
  { path: '/livez/serializable_read' },
  { path: '/livez?exclude=serializable_read' },
  { path: '/readyz' },
  { path: '/readyz/data_corruption' },
  { path: '/readyz/serializable_read' },
  { path: '/readyz/linearizable_read' },
  { path: '/version', only: 'headers' },
  { method: 'POST', path: '/version', body: '{}' },
  { path: '/metrics', only: 'status' },
  { path: '/debug/pprof/' },
  { path: '/' },
  { path: '/v3' },
  { path: '/v3/nothing' },
  { path: '/v3/nothing', body: '{}' },
  { path: '/v3alpha/kv/range', body: '{}' },
  { path: '/v2/keys' },
  { path: '/config' },
  { method: 'OPTIONS', path: '/v3/kv/range' },
  { method: 'OPTIONS', path: '/health' },
];

const FORMS: readonly HttpRequest[] = [
  post('kv/put', { key: A, value: 'MQ==' }),
  post('kv/put', { key: 'Yg==', value: 'Mg==', prev_kv: true }),
  post('kv/put', { key: 'Yg==', value: 'Mw==', prevKv: true }),
  { path: '/v3beta/kv/range', body: JSON.stringify({ key: A }) },
  post('kv/range', { key: A, range_end: Z }),
  post('kv/range', { key: A, rangeEnd: Z, limit: '1' }),
  post('kv/range', { key: A, range_end: Z, limit: 1, sort_order: 'DESCEND', sort_target: 'KEY' }),
  post('kv/range', { key: A, range_end: Z, sort_order: 2, sort_target: 4 }),
  post('kv/range', { key: A, count_only: true }),
  post('kv/range', { key: A, keys_only: true, unknown: { field: [1] } }),
  post('kv/range', { key: A, revision: 99 }),
  post('kv/range', { key: null }),
  post('kv/range', {}),
  post('kv/range', ''),
  { method: 'GET', path: '/v3/kv/range' },
  { method: 'PUT', path: '/v3/kv/range', body: '{}' },
  bad({ key: 'no base64!' }),
  bad('{'),
  bad('[]'),
  bad({ key: 5 }),
  bad({ key: A, limit: 'x' }),
  post('kv/range', { key: A, sort_order: 'SIDEWAYS' }),
  post('kv/deleterange', { key: 'Yg==', prev_kv: true }),
  post('kv/txn', {
    compare: [{ key: A, target: 'VALUE', result: 'EQUAL', value: 'MQ==' }],
    success: [{ request_range: { key: A } }, { requestPut: { key: 'Yw==', value: A } }],
  }),
  post('kv/txn', {
    compare: [{ key: A, target: 'VERSION', version: '7' }],
    failure: [{ request_delete_range: { key: Z } }],
  }),
  post('kv/compaction', { revision: '3' }),
  post('kv/compaction', { revision: '3' }),
  post('kv/range', { key: A, revision: '1' }),
  post('lease/grant', { ID: '77', TTL: '3600' }),
  post('lease/grant', { ID: 77, TTL: 3600 }),
  post('kv/put', { key: 'bA==', lease: '77' }),
  post('lease/leases', {}),
  post('kv/lease/leases', {}),
  post('lease/keepalive', { ID: 77 }),
  post('kv/lease/revoke', { ID: '77' }),
  post('lease/revoke', { ID: '77' }),
  post('lease/timetolive', { ID: '77' }),
  post('maintenance/alarm', { action: 'GET' }),
  post('maintenance/hashkv', {}),
  post('maintenance/defragment', {}),
  post('auth/status', {}),
  post('auth/enable', {}),
  post('auth/user/add', { name: 'ann', password: 'secret' }),
  post('auth/user/add', { name: 'ann', password: 'secret' }),
  post('auth/user/list', {}),
  post('auth/user/get', { name: 'bob' }),
  post('auth/role/add', { name: 'r' }),
  post('auth/role/grant', { name: 'r', perm: { permType: 'READWRITE', key: A } }),
  post('auth/role/get', { role: 'r' }),
  post('auth/authenticate', { name: 'ann', password: 'secret' }),
  post('lock/unlock', { key: A }),
  post('election/leader', { name: A }),
  post('kv/put', { key: A, value: 'MQ==' }, { 'content-type': 'text/plain' }),
];

/** All of them. */
export const REQUESTS: readonly HttpRequest[] = [...PAGES, ...FORMS];
