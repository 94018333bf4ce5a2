/**
 * What a member answers others by HTTP, besides what is raft's: who is in the cluster, leases and promotions as the
 * leader, the hash of its keys, its version. `questions.ts` is the other side.
 *
 * Paths, statuses, headers and texts are etcd's. A question is small and comes at once: one that is larger than
 * {@link QUESTION_LIMIT_BYTES} or slower than {@link QUESTION_MS} is refused. The answer is awaited as long as the
 * member takes to give it, which is bounded, and no longer than there is somebody to hear it.
 *
 * Source: members of etcd 3.4 and 3.5, as observed.
 *
 * @module
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { LeaseKeepAliveRequest, LeaseKeepAliveResponse } from '../../protocol/generated/etcdserverpb.ts';
import { LeaseInternalRequest, LeaseInternalResponse } from '../../protocol/generated/leasepb.ts';
import type { Clock } from '../../support/clock.ts';
import type { PeerHost } from '../member/peers.ts';
import { type Refusal, Refusals, RpcError } from '../refusals.ts';
import { decodeHashRequest, encodeHash, encodeMembers } from './peer-json.ts';

/** Bytes of a question: they are tens. */
export const QUESTION_LIMIT_BYTES = 64 * 1024;

/** How long a question may take to come, in ms. */
export const QUESTION_MS = 5_000;

/** The largest id. */
const MAX_ID = 2n ** 64n - 1n;

/** A way to answer one path. */
interface Page {
  readonly method: 'GET' | 'POST';
  /** Whether the header `Allow` says which method would do; etcd leaves it out at `/leases`. */
  readonly allow: boolean;
  readonly answer: (exchange: PeerExchange, host: PeerHost) => Promise<void> | void;
}

/** Answers a request; never rejects. @param clock bounds how long the question may take to come. */
export async function answerPeer(
  request: IncomingMessage,
  response: ServerResponse,
  host: PeerHost,
  clock: Clock,
): Promise<void> {
  const exchange = new PeerExchange(request, response, clock);
  try {
    const page = pageAt(exchange.path);
    if (page === undefined) exchange.refuse(404, '404 page not found');
    else if (request.method === page.method) await page.answer(exchange, host);
    else {
      if (page.allow) response.setHeader('Allow', page.method);
      exchange.refuse(405, 'Method Not Allowed');
    }
  } catch (error) {
    if (error instanceof BadQuestion) exchange.refuse(400, error.message);
    else exchange.refuse(500, 'Internal Server Error');
  }
}

/** The question is not one. */
class BadQuestion extends Error {
  override name = 'BadQuestion';
}

/** One request with its answer. */
class PeerExchange {
  readonly path: string;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #clock: Clock;
  readonly #gone = new AbortController();

  constructor(request: IncomingMessage, response: ServerResponse, clock: Clock) {
    this.#request = request;
    this.#response = response;
    this.#clock = clock;
    this.path = (request.url ?? '/').replace(/\?.*$/s, '');
    // A connection that breaks is told by `close`.
    request.on('error', ignore);
    response.on('error', ignore);
    response.once('close', () => this.#gone.abort());
  }

  /** Fires when nobody waits for the answer any more. */
  get signal(): AbortSignal {
    return this.#gone.signal;
  }

  /** What follows the path of a page, such as an id. */
  after(path: string): string {
    return this.path.slice(path.length);
  }

  /** Says of which cluster the answer is. */
  ofCluster({ clusterId }: PeerHost): void {
    this.#response.setHeader('X-Etcd-Cluster-ID', clusterId.toString(16));
  }

  /** Refuses whoever says that it is of another cluster. @returns Whether it may go on. */
  isOfCluster({ clusterId }: PeerHost): boolean {
    const claimed = this.#request.headers['x-etcd-cluster-id'];
    if (claimed === undefined || claimed === clusterId.toString(16)) return true;
    this.refuse(412, 'cluster ID mismatch');
    return false;
  }

  /** All of the question. @throws BadQuestion it is too large or too slow. */
  async question(): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let length = 0;
    let late = false;
    const timer = this.#clock.after(QUESTION_MS, () => {
      late = true;
      this.#request.destroy();
    });
    try {
      for await (const chunk of this.#request as AsyncIterable<Buffer>) {
        length += chunk.length;
        if (length > QUESTION_LIMIT_BYTES) throw new BadQuestion('error reading body');
        chunks.push(chunk);
      }
    } catch (error) {
      throw late ? new BadQuestion('error reading body') : error;
    } finally {
      timer.cancel();
    }
    return Buffer.concat(chunks);
  }

  answer(contentType: string, body: string | Uint8Array): void {
    this.#response.setHeader('Content-Type', contentType);
    this.#end(200, typeof body === 'string' ? Buffer.from(body) : body);
  }

  refuse(status: number, text: string): void {
    this.#response.setHeader('Content-Type', 'text/plain; charset=utf-8');
    this.#response.setHeader('X-Content-Type-Options', 'nosniff');
    this.#end(status, Buffer.from(`${text}\n`));
  }

  #end(status: number, body: Uint8Array): void {
    if (this.#response.headersSent || this.#response.destroyed) return;
    // What is left of a question that nobody reads must not hold up the next one.
    if (!this.#request.complete) this.#response.shouldKeepAlive = false;
    this.#response.writeHead(status, { 'Content-Length': body.length });
    this.#response.end(this.#request.method === 'HEAD' ? undefined : body);
  }
}

const JSON_TYPE = 'application/json';
const PROTOBUF_TYPE = 'application/protobuf';
const PROMOTE = '/members/promote/';

const PAGES: Readonly<Record<string, Page>> = {
  '/members': {
    method: 'GET',
    allow: true,
    answer(exchange, host) {
      exchange.ofCluster(host);
      exchange.answer(JSON_TYPE, encodeMembers(host.members.list()));
    },
  },
  '/members/hashkv': { method: 'GET', allow: true, answer: hashKv },
  '/leases': { method: 'POST', allow: false, answer: renewLease },
  '/leases/internal': { method: 'POST', allow: false, answer: timeToLive },
  '/downgrade/enabled': {
    method: 'GET',
    allow: true,
    answer(exchange, host) {
      exchange.ofCluster(host);
      exchange.answer('text/plain', String(host.members.downgradeTarget !== undefined));
    },
  },
  '/version': {
    method: 'GET',
    allow: true,
    answer(exchange, { version, members }) {
      const etcdcluster = members.clusterVersion ?? 'not_decided';
      exchange.answer(JSON_TYPE, JSON.stringify({ etcdserver: version, etcdcluster }));
    },
  },
};

const PROMOTION: Page = { method: 'POST', allow: true, answer: promote };

function pageAt(path: string): Page | undefined {
  if (path.startsWith(PROMOTE)) return PROMOTION;
  return Object.hasOwn(PAGES, path) ? PAGES[path] : undefined;
}

async function renewLease(exchange: PeerExchange, host: PeerHost): Promise<void> {
  const { ID } = read(LeaseKeepAliveRequest.decode, await exchange.question());
  await asPrimary(exchange, 400, async () => {
    const ttl = await host.renewLeaseHere(ID, exchange.signal);
    if (ttl === 0) throw new RpcError(Refusals.LeaseNotFound);
    exchange.answer(PROTOBUF_TYPE, LeaseKeepAliveResponse.encode({ ID, TTL: BigInt(ttl) }));
  });
}

async function timeToLive(exchange: PeerExchange, host: PeerHost): Promise<void> {
  const { LeaseTimeToLiveRequest: asked } = read(LeaseInternalRequest.decode, await exchange.question());
  if (asked === undefined) throw new BadQuestion(NO_QUESTION);
  await asPrimary(exchange, 500, async () => {
    const { remainingSeconds, grantedSeconds, keys } = await host.timeToLiveHere(asked.ID, exchange.signal);
    if (remainingSeconds < 0) throw new RpcError(Refusals.LeaseNotFound);
    const times = { header: {}, ID: asked.ID, TTL: BigInt(remainingSeconds), grantedTTL: BigInt(grantedSeconds) };
    const LeaseTimeToLiveResponse = { ...times, keys: asked.keys ? keys : [] };
    exchange.answer(PROTOBUF_TYPE, LeaseInternalResponse.encode({ LeaseTimeToLiveResponse }));
  });
}

/** What only the leader's lessor can say. @param otherwise Status of a refusal that has none of its own. */
async function asPrimary(exchange: PeerExchange, otherwise: number, answer: () => Promise<void>): Promise<void> {
  try {
    await answer();
  } catch (error) {
    const refusal = refusalOf(error);
    if (refusal === Refusals.LeaseNotFound) exchange.refuse(404, 'lease not found');
    else if (refusal === Refusals.Timeout || refusal === Refusals.TimeoutAppliedIndex)
      exchange.refuse(408, 'waiting for node to catch up its applied index has timed out');
    else exchange.refuse(otherwise, refusal === Refusals.NotLeader ? 'not a primary lessor' : refusal.text);
  }
}

async function promote(exchange: PeerExchange, host: PeerHost): Promise<void> {
  exchange.ofCluster(host);
  const text = exchange.after(PROMOTE);
  const id = /^\d{1,20}$/.test(text) ? BigInt(text) : -1n;
  if (id < 0n || id > MAX_ID) return exchange.refuse(404, `member ${text} not found in cluster`);
  try {
    exchange.answer(JSON_TYPE, encodeMembers(await host.promoteHere(id, exchange.signal)));
  } catch (error) {
    const refusal = refusalOf(error);
    if (refusal === Refusals.MemberNotFound) exchange.refuse(404, 'membership: ID not found');
    else if (refusal === Refusals.MemberNotLearner)
      exchange.refuse(412, 'membership: can only promote a learner member');
    else if (refusal === Refusals.LearnerNotReady) exchange.refuse(412, refusal.text);
    else if (refusal === Refusals.Timeout) exchange.refuse(408, refusal.text);
    else exchange.refuse(500, 'Internal Server Error');
  }
}

async function hashKv(exchange: PeerExchange, host: PeerHost): Promise<void> {
  if (!exchange.isOfCluster(host)) return;
  const revision = read((bytes) => decodeHashRequest(Buffer.from(bytes).toString()), await exchange.question());
  const found = host.hashKv(revision);
  // The text of the store itself, without the prefix that clients see.
  if ('text' in found) return exchange.refuse(400, found.text.replace(/^etcdserver: /, ''));
  exchange.ofCluster(host);
  exchange.answer(JSON_TYPE, encodeHash(found));
}

const NO_QUESTION = 'error unmarshalling request';

function read<T>(decode: (bytes: Uint8Array) => T, bytes: Uint8Array): T {
  try {
    return decode(bytes);
  } catch (error) {
    throw new BadQuestion(NO_QUESTION, { cause: error });
  }
}

/** @throws what is none. */
function refusalOf(error: unknown): Refusal {
  if (error instanceof RpcError) return error.refusal;
  throw error;
}

function ignore(): void {}
