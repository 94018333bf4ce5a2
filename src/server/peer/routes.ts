/**
 * The way in for what other members' transports send: which requests are raft's, and who is let through.
 *
 * The listener of the peer port gives each request to {@link PeerRoutes.handle} first; what is not under `/raft` is its
 * own to answer. A request that was taken is answered in any case, also one that stalls: its connection is destroyed.
 * The listener must not put time limits on answers of its own: streams last as long as the members do.
 *
 * Refused are, in this order: another method than the path's, a sender of another cluster or of a version that has
 * nothing in common with ours, one that was removed, one that is not known here, and who means another member than this.
 *
 * Source: etcd's package `rafthttp`, and the answers of servers 3.4 and 3.5.
 *
 * @module
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { headerOf, idText, incompatibility, parseId } from './headers.ts';
import { type Answer, receiveMessage } from './message-receiver.ts';
import type { TransportContext } from './options.ts';
import type { Peer } from './peer.ts';
import { probeAnswer } from './prober.ts';
import { receiveSnapshot } from './snapshot-receiver.ts';
import { STREAM_KINDS } from './stream-reader.ts';

/** See the head of this file. */
export interface PeerRoutes {
  /**
   * Takes a request of another member: `/raft`, `/raft/probing`, `/raft/snapshot`, `/raft/stream/…`.
   *
   * @returns Whether it is one, and so will be answered; false: nothing was touched.
   */
  handle(request: IncomingMessage, response: ServerResponse): boolean;
}

/** Longest list of addresses that a stranger may name, in characters. */
const ADDRESSES_LENGTH = 4_096;

/** Answers them; see the head of this file. */
export class RaftRoutes {
  readonly #context: TransportContext;
  readonly #peer: (id: bigint) => Peer | undefined;

  /** @param peer The member of an id, if there is one. */
  constructor(context: TransportContext, peer: (id: bigint) => Peer | undefined) {
    this.#context = context;
    this.#peer = peer;
  }

  /** As {@link PeerRoutes.handle}. @param open Whether the member is there. */
  handle(request: IncomingMessage, response: ServerResponse, open: boolean): boolean {
    const path = request.url?.split('?', 1)[0] ?? '';
    if (path !== '/raft' && !path.startsWith('/raft/')) return false;
    // A connection that breaks is seen where its request is read, or its answer written.
    request.on('error', () => {});
    response.on('error', () => {});
    if (!open) refuse(response, 503, 'the member is not running');
    else if (path === '/raft') void this.#post(request, response, receiveMessage);
    else if (path === '/raft/snapshot') void this.#post(request, response, receiveSnapshot);
    else if (path === '/raft/probing') this.#probe(response);
    else if (path.startsWith('/raft/stream/')) this.#stream(path, request, response);
    else refuse(response, 404, '404 page not found');
    return true;
  }

  /** Asks nobody who he is: it is for people and load balancers too. */
  #probe(response: ServerResponse): void {
    const body = probeAnswer(this.#context.timeOfDayMs());
    response
      .writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) })
      .end(body);
  }

  async #post(
    request: IncomingMessage,
    response: ServerResponse,
    receive: (context: TransportContext, request: IncomingMessage) => Promise<Answer>,
  ): Promise<void> {
    const refused = this.#check(request, response, 'POST') ?? this.#meet(request);
    const { status, text } = refused ?? (await receive(this.#context, request));
    if (status === 204) response.writeHead(204).end();
    else refuse(response, status, text);
  }

  #stream(path: string, request: IncomingMessage, response: ServerResponse): void {
    const { host } = this.#context;
    response.setHeader('X-Server-Version', host.version);
    const refused = this.#check(request, response, 'GET');
    if (refused) return refuse(response, refused.status, refused.text);
    const [, , , kindText, idOf, ...more] = path.split('/');
    const kind = STREAM_KINDS.find((one) => one === kindText);
    if (kind === undefined || more.length > 0) return refuse(response, 404, 'invalid path');
    const from = parseId(idOf);
    if (from === undefined) return refuse(response, 404, 'invalid from');
    if (host.members.wasRemoved(from)) return refuse(response, 410, 'removed member');
    const peer = this.#peer(from);
    if (peer === undefined) {
      this.#introduce(from, request);
      return refuse(response, 404, 'error sender not found');
    }
    if (headerOf(request.headers, 'x-raft-to') !== idText(host.id)) return refuse(response, 412, 'to field mismatch');
    response.writeHead(200);
    response.flushHeaders();
    peer.attach(kind, response);
  }

  #check(request: IncomingMessage, response: ServerResponse, method: 'GET' | 'POST'): Answer | undefined {
    const { host } = this.#context;
    response.setHeader('X-Etcd-Cluster-ID', idText(host.clusterId));
    if (request.method !== method) {
      response.setHeader('Allow', method);
      return { status: 405, text: 'Method Not Allowed' };
    }
    const text = incompatibility(host, request.headers);
    return text === undefined ? undefined : { status: 412, text };
  }

  /** Whoever posts may be a member that was added after what is applied here. */
  #meet(request: IncomingMessage): undefined {
    const from = parseId(headerOf(request.headers, 'x-server-from'));
    if (from !== undefined && !this.#context.host.members.wasRemoved(from)) this.#introduce(from, request);
  }

  #introduce(from: bigint, { headers }: IncomingMessage): void {
    const urls = headerOf(headers, 'x-peerurls');
    if (urls === undefined || urls === '' || urls.length > ADDRESSES_LENGTH || this.#peer(from)) return;
    this.#context.meet(from, urls.split(','));
  }
}

function refuse(response: ServerResponse, status: number, text: string): void {
  // What is left of the request is not read; so no other can follow it.
  response.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8', Connection: 'close' }).end(`${text}\n`);
}
