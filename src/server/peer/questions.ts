/**
 * What a member asks another by HTTP, around the log: the leader about leases, and to promote; anyone for the hash of its
 * keys and its version. `answers.ts` is the other side.
 *
 * All URLs of a member are tried in turn until one answers in a way that counts. Whatever it is that came instead (no
 * connection, an error of the server, `not a primary lessor`), the caller may try again: that is `unreachable`.
 *
 * Source: paths, statuses and texts as members of etcd 3.4 and 3.5 sent them.
 *
 * @module
 */
import { z } from 'zod';
import { LeaseKeepAliveRequest, LeaseKeepAliveResponse } from '../../protocol/generated/etcdserverpb.ts';
import { LeaseInternalRequest, LeaseInternalResponse } from '../../protocol/generated/leasepb.ts';
import type { LeaseTimes, PeerAnswer, PeerHash, PeerHost } from '../member/peers.ts';
import { type Refusal, Refusals } from '../refusals.ts';
import type { BackendMember } from '../snapshot/backend-state.ts';
import type { Answer, Asker, Question } from './ask.ts';
import { decodeHash, decodeMembers, encodeHashRequest } from './peer-json.ts';

export interface QuestionsOptions {
  readonly host: Pick<PeerHost, 'id' | 'clusterId' | 'members'>;
  readonly asker: Asker;
  /** How long a question may take at each URL, in ms. */
  readonly timeoutMs: number;
}

type Asked = Pick<Question, 'method' | 'path' | 'body'> & { readonly type?: string };

/** What an answer means; undefined: nothing, another URL may say more. */
type Reading<T> = (answer: Answer) => PeerAnswer<T> | undefined;

const UNREACHABLE = { type: 'unreachable' } as const;
const PROTOBUF = 'application/protobuf';

/** See the head of this file. */
export class Questions {
  readonly #options: QuestionsOptions;
  readonly #ending = new AbortController();

  constructor(options: QuestionsOptions) {
    this.#options = options;
  }

  /** Renews a lease at the leader. Its TTL in seconds, 0 if it is gone. */
  renewLease(leader: bigint, id: bigint, signal: AbortSignal | undefined): Promise<PeerAnswer<number>> {
    const body = LeaseKeepAliveRequest.encode({ ID: id });
    return this.#ask(leader, { method: 'POST', path: '/leases', body, type: PROTOBUF }, signal, (answer) => {
      if (answer.status === 404) return said(0);
      return answer.status === 200 ? said(Number(LeaseKeepAliveResponse.decode(answer.body).TTL)) : undefined;
    });
  }

  /** What is left of a lease, says the leader. */
  timeToLive(leader: bigint, id: bigint, signal: AbortSignal | undefined): Promise<PeerAnswer<LeaseTimes>> {
    const body = LeaseInternalRequest.encode({ LeaseTimeToLiveRequest: { ID: id, keys: true } });
    return this.#ask(leader, { method: 'POST', path: '/leases/internal', body, type: PROTOBUF }, signal, (answer) => {
      if (answer.status === 404) return said({ remainingSeconds: -1, grantedSeconds: 0, keys: [] });
      if (answer.status !== 200) return undefined;
      const times = LeaseInternalResponse.decode(answer.body).LeaseTimeToLiveResponse;
      if (times?.ID !== id) return undefined;
      const { TTL, grantedTTL, keys } = times;
      return said({ remainingSeconds: Number(TTL), grantedSeconds: Number(grantedTTL), keys });
    });
  }

  /** Has the leader promote a learner. The members after it. */
  promote(leader: bigint, id: bigint, signal: AbortSignal | undefined): Promise<PeerAnswer<readonly BackendMember[]>> {
    const path = `/members/promote/${id}`;
    return this.#ask(leader, { method: 'POST', path }, signal, ({ status, body }) => {
      if (status === 200) return said(decodeMembers(body.toString()));
      if (status === 404) return refused(Refusals.MemberNotFound);
      if (status !== 412) return undefined;
      const notReady = body.includes('which is in sync with leader');
      return refused(notReady ? Refusals.LearnerNotReady : Refusals.MemberNotLearner);
    });
  }

  /** The hash of a member's keys at a revision; 0: now. */
  hashKv(id: bigint, revision: number, signal: AbortSignal | undefined): Promise<PeerAnswer<PeerHash>> {
    const body = Buffer.from(encodeHashRequest(revision));
    const question: Asked = { method: 'GET', path: '/members/hashkv', body, type: 'application/json' };
    return this.#ask(id, question, signal, (answer) => {
      if (answer.status === 200) return said(decodeHash(answer.body.toString(), revision));
      if (answer.body.includes('required revision has been compacted')) return refused(Refusals.Compacted);
      if (answer.body.includes('required revision is a future revision')) return refused(Refusals.FutureRevision);
      return undefined;
    });
  }

  /** Versions of the other members' servers. One that does not answer has none. */
  async versions(): Promise<ReadonlyMap<bigint, string>> {
    const { host } = this.#options;
    const others = host.members.list().filter(({ id }) => id !== host.id);
    const found = new Map<bigint, string>();
    const one = async (id: bigint): Promise<void> => {
      const answer = await this.#ask(id, { method: 'GET', path: '/version' }, undefined, readVersion);
      if (answer.type === 'answer') found.set(id, answer.value);
    };
    await Promise.all(others.map(({ id }) => one(id)));
    return found;
  }

  /** Ends the questions that are out. */
  close(): void {
    this.#ending.abort();
  }

  async #ask<T>(
    id: bigint,
    { type, ...question }: Asked,
    signal: AbortSignal | undefined,
    read: Reading<T>,
  ): Promise<PeerAnswer<T>> {
    const { host, asker, timeoutMs } = this.#options;
    const headers = {
      'X-Etcd-Cluster-ID': host.clusterId.toString(16),
      ...(type !== undefined && { 'Content-Type': type }),
    };
    const signals = [signal, this.#ending.signal];
    for (const url of host.members.get(id)?.peerUrls ?? []) {
      try {
        const found = read(await asker.ask(url, { ...question, headers, timeoutMs, signals }));
        if (found !== undefined) return found;
      } catch {
        // No answer, or none that can be read: what there is to say about that is to be seen by whoever connects.
      }
    }
    return UNREACHABLE;
  }
}

const versionJson = z.object({ etcdserver: z.string() });

const readVersion: Reading<string> = ({ status, body }) =>
  status === 200 ? said(versionJson.parse(JSON.parse(body.toString())).etcdserver) : undefined;

function said<T>(value: T): PeerAnswer<T> {
  return { type: 'answer', value };
}

function refused<T>(refusal: Refusal): PeerAnswer<T> {
  return { type: 'refused', refusal };
}
