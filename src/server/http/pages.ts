/**
 * What people and their tools ask a member by HTTP: health, version, metrics.
 *
 * Statuses, texts and headers are etcd's; the list of what is served is `dispatch`.
 *
 * @module
 */
import { GrpcCode } from '../../protocol/status.ts';
import type { Clock } from '../../support/clock.ts';
import type { ServingMember } from '../member/serving.ts';
import type { Exchange } from './exchange.ts';
import { errorBody, type Gateway } from './gateway.ts';
import { httpStatus } from './gateway-paths.ts';
import { Health } from './health.ts';
import type { ServerMetrics } from './metrics.ts';

/** What {@link Pages} needs. */
export interface PagesOptions {
  readonly member: ServingMember;
  readonly metrics: ServerMetrics;
  readonly clock: Clock;
  /** How long a health check may take. */
  readonly healthTimeoutMs: number;
  /** Origins that browsers may ask from. `*`: all. */
  readonly cors: readonly string[];
  /** Hosts that clear requests may name. `*`: all. */
  readonly hostWhitelist: readonly string[];
  /** Whether clients must have certificates: then the gateway can't know who asks. */
  readonly clientCertAuth: boolean;
  /** The JSON gateway; undefined: none. */
  readonly gateway: Gateway | undefined;
}

/** See the head of this file. */
export class Pages {
  readonly #options: PagesOptions;
  readonly #health: Health;

  constructor(options: PagesOptions) {
    this.#options = options;
    const { member, clock, healthTimeoutMs: timeoutMs, metrics: observer } = options;
    this.#health = new Health({ member, clock, timeoutMs, observer });
  }

  /** Answers a request. Never rejects. */
  async serve(exchange: Exchange): Promise<void> {
    try {
      if (!this.mayEnter(exchange)) return;
      this.#allowOrigin(exchange);
      if (exchange.method === 'OPTIONS') exchange.respond(200, {}, '');
      else await this.#dispatch(exchange);
    } catch {
      exchange.refuse(500, 'internal error');
    }
  }

  /** The checks that stand before everything; refuses the request if it fails one. */
  mayEnter(exchange: Exchange): boolean {
    const { hostWhitelist, clientCertAuth, gateway, member } = this.#options;
    // Another spelling from before 3.4, which clients still use.
    exchange.path = exchange.path.replace(/^\/v3beta\//, '/v3/');
    if (!exchange.secure && !hostWhitelist.includes('*') && !hostWhitelist.includes(exchange.host)) {
      exchange.refuse(421, WRONG_HOST);
      return false;
    }
    const byJson = gateway !== undefined && exchange.path.startsWith('/v3/');
    if (byJson && clientCertAuth && member.state.auth.enabled && exchange.commonName !== undefined) {
      exchange.refuse(400, NAME_IS_IGNORED);
      return false;
    }
    return true;
  }

  #allowOrigin(exchange: Exchange): void {
    const { cors } = this.#options;
    const origin = cors.includes('*') ? '*' : exchange.header('origin');
    if (origin === undefined || (origin !== '*' && !cors.includes(origin))) return;
    exchange.setHeader('Access-Control-Allow-Methods', 'POST, GET, OPTIONS, PUT, DELETE');
    exchange.setHeader('Access-Control-Allow-Origin', origin);
    exchange.setHeader('Access-Control-Allow-Headers', 'accept, content-type, authorization');
  }

  async #dispatch(exchange: Exchange): Promise<void> {
    const { path } = exchange;
    const [, page, check] = /^\/(livez|readyz)(?:\/([a-z_]+))?$/.exec(path) ?? [];
    if (page !== undefined) {
      if (!isGet(exchange)) return;
      await (this.#health.serve(exchange, page as 'livez' | 'readyz', check) ?? notFound(exchange));
    } else if (path === '/health') {
      if (isGet(exchange)) await this.#health.health(exchange);
    } else if (path === '/version') {
      if (isGet(exchange)) exchange.json(200, this.#version());
    } else if (path === '/metrics') {
      const text = await this.#options.metrics.render();
      exchange.respond(200, { 'Content-Type': 'text/plain; version=0.0.4; charset=utf-8' }, text);
    } else if (path === '/debug/vars') {
      exchange.json(200, this.#vars());
    } else if (this.#options.gateway !== undefined && /^\/v3(\/|$)/.test(path)) {
      await this.#serveGateway(exchange, this.#options.gateway);
    } else {
      notFound(exchange);
    }
  }

  async #serveGateway(exchange: Exchange, gateway: Gateway): Promise<void> {
    if (exchange.path === '/v3') {
      exchange.respond(301, { 'Content-Type': 'text/html; charset=utf-8', Location: '/v3/' }, MOVED);
      return;
    }
    const method = gateway.find(exchange.path);
    const code = method === undefined ? GrpcCode.NOT_FOUND : GrpcCode.UNIMPLEMENTED;
    if (method !== undefined && exchange.method === 'POST') await gateway.serve(method, exchange);
    else
      exchange.json(httpStatus(code), errorBody({ grpcCode: code, text: method ? 'Method Not Allowed' : 'Not Found' }));
  }

  #version(): object {
    const { member } = this.#options;
    return { etcdserver: member.version, etcdcluster: member.state.members.clusterVersion ?? 'not_decided' };
  }

  #vars(): object {
    const { member } = this.#options;
    const { leader, term, committed, applied, isLearner } = member.position;
    const role = isLearner ? 'StateLearner' : leader === member.id ? 'StateLeader' : 'StateFollower';
    const status = { id: hex(member.id), term, commit: committed, lead: hex(leader), raftState: role, applied };
    return { memstats: process.memoryUsage(), 'raft.status': status };
  }
}

const MOVED = '<a href="/v3/">Moved Permanently</a>.\n\n';

const WRONG_HOST =
  'The Host header of this request is not one that this member answers to over a clear connection, which keeps ' +
  'web pages from reaching it by DNS rebinding (CVE-2018-5702). Use TLS, or add the host to --host-whitelist.';

const NAME_IS_IGNORED =
  'CommonName of client sending a request against gateway will be ignored and not used as expected';

function isGet(exchange: Exchange): boolean {
  if (exchange.method === 'GET') return true;
  exchange.refuse(405, 'Method Not Allowed', { Allow: 'GET' });
  return false;
}

function notFound(exchange: Exchange): void {
  exchange.refuse(404, '404 page not found');
}

function hex(id: bigint): string {
  return id.toString(16);
}
