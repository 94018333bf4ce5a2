/** One of the two servers: it takes steps and tells what came of them, as text. */
import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import {
  Auth,
  type AuthenticateResponse,
  KV,
  Lease,
  Maintenance,
  type PutResponse,
  type WatchRequest,
} from '../../../src/protocol/generated/etcdserverpb.ts';
import { fromLatin1 } from '../../../src/protocol/keys.ts';
import type { Init } from '../../../src/protocol/wire.ts';
import { normalise } from './normalise.ts';
import {
  type AnyMethod,
  type Caller,
  OWN_MEMBER,
  SENTINEL,
  SENTINEL_WATCH,
  STRANGER,
  type Step,
  show,
} from './steps.ts';
import { WatchLog } from './watch-log.ts';

/** No answer takes so long, but one that will never come. */
const PATIENCE_MS = 20_000;

/** How often, and how often at most, progress is asked for: etcd looks after late watchers each 100 ms. */
const PROGRESS_MS = 50;
const PROGRESS_TRIES = 5;

const SENTINEL_KEY = fromLatin1(SENTINEL);

/** What came of a step. */
export interface Outcome {
  /** For the comparison. */
  readonly text: string;
  /** The answer as it came, where there was one. */
  readonly answer?: unknown;
}

export class Side {
  readonly name: string;
  readonly #client: Client;
  readonly #tokens = new Map<string, string>();
  readonly #streams = new Map<string, WatchLog>();
  #memberId = 0n;
  /** Whether there may be watchers that begin in the past and have not got to the present. */
  #behind = false;
  /** Revision at which everything had been heard, the last time. */
  #drainedAt = 1n;

  private constructor(name: string, endpoint: string) {
    this.name = name;
    this.#client = new Client(endpoint, credentials.createInsecure(), { 'grpc.max_receive_message_length': -1 });
  }

  static async connect(name: string, endpoint: string): Promise<Side> {
    const side = new Side(name, endpoint);
    const { answer } = await side.#call(Maintenance.status, {}, undefined);
    if (answer === undefined) throw new Error(`${name} does not answer`);
    side.#memberId = (answer as { header: { memberId: bigint } }).header.memberId;
    return side;
  }

  close(): void {
    for (const stream of this.#streams.values()) stream.close();
    this.#client.close();
  }

  /** Does a step; of `drain` only the part that is the side's own. */
  async take(step: Step): Promise<Outcome> {
    if (step.kind === 'call') return this.#call(step.method, step.request, step.as);
    if (step.kind === 'bytes') return this.#send(step.method, step.bytes, step.as);
    if (step.kind === 'keepalive') return this.#keepAlive(step.ids, step.as);
    if (step.kind === 'open') return this.#open(step.stream, step.as);
    if (step.kind === 'tell') return this.#tell(step.stream, step.request);
    if (step.kind === 'progress') return this.#progress(step.stream);
    if (step.kind === 'drain') return this.#settle();
    this.#streams.get(step.stream)?.close();
    this.#streams.delete(step.stream);
    return { text: 'closed' };
  }

  /** What all watch streams have said. */
  get watched(): string {
    const streams = [...this.#streams].sort(([a], [b]) => (a < b ? -1 : 1));
    return streams.map(([name, log]) => `${name}\n${log.text}`).join('\n');
  }

  async #call(method: AnyMethod, request: object, as: Caller): Promise<Outcome> {
    const outcome = await this.#send(method, method.request.encode(this.#addressed(request)), as);
    if (method.path === Auth.authenticate.path && outcome.answer !== undefined) {
      this.#tokens.set((request as { name: string }).name, (outcome.answer as AuthenticateResponse).token);
    }
    return outcome;
  }

  /** The request with the member's own id where it is meant. */
  #addressed(request: object): object {
    const own = Object.entries(request).filter(([, value]) => value === OWN_MEMBER);
    return { ...request, ...Object.fromEntries(own.map(([name]) => [name, this.#memberId])) };
  }

  #send(method: AnyMethod, bytes: Uint8Array, as: Caller): Promise<Outcome> {
    const { path, kind, response } = method;
    const frame = Buffer.from(bytes);
    const itself = (value: Buffer): Buffer => value;
    const read = (value: Buffer): unknown => response.decode(value);
    const options = { deadline: Date.now() + PATIENCE_MS };
    return new Promise((resolve) => {
      const refused = ({ code, details }: ServiceError): void => resolve({ text: `${code} ${details}` });
      const answered = (answer: unknown): void =>
        resolve({ text: show(normalise(method, answer, { memberId: this.#memberId })), answer });
      if (kind === 'unary') {
        this.#client.makeUnaryRequest(path, itself, read, frame, this.#metadata(as), options, (error, answer) =>
          error ? refused(error) : answered(answer),
        );
        return;
      }
      const stream = this.#client.makeServerStreamRequest(path, itself, read, frame, this.#metadata(as), options);
      stream.on('error', refused);
      stream.once('data', (answer: unknown) => {
        answered(answer);
        stream.cancel();
      });
      stream.once('end', () => resolve({ text: 'ended without an answer' }));
    });
  }

  #metadata(as: Caller): Metadata {
    const metadata = new Metadata();
    const token = this.#token(as);
    if (token !== undefined) metadata.set('token', token);
    return metadata;
  }

  #token(as: Caller): string | undefined {
    return as === STRANGER ? 'nobody.knows.it' : as === undefined ? undefined : this.#tokens.get(as);
  }

  #keepAlive(ids: readonly bigint[], as: Caller): Promise<Outcome> {
    const { path, request, response } = Lease.leaseKeepAlive;
    const said: string[] = [];
    const read = (bytes: Buffer): unknown => response.decode(bytes);
    const options = { deadline: Date.now() + PATIENCE_MS };
    const stream = this.#client.makeBidiStreamRequest(path, request.encode, read, this.#metadata(as), options);
    return new Promise((resolve) => {
      const end = (how: string): void => resolve({ text: [...said, how].join('\n') });
      stream.on('data', (answer) => {
        said.push(show(normalise(Lease.leaseKeepAlive, answer, { memberId: this.#memberId })));
      });
      stream.on('error', ({ code, details }: ServiceError) => end(`${code} ${details}`));
      stream.on('end', () => end('ended'));
      for (const ID of ids) stream.write({ ID });
      stream.end();
    });
  }

  async #open(name: string, as: Caller): Promise<Outcome> {
    this.#streams.get(name)?.close();
    this.#streams.set(name, new WatchLog(this.#client, this.#token(as)));
    return this.#tell(name, { createRequest: { key: SENTINEL_KEY, watchId: SENTINEL_WATCH } });
  }

  async #tell(name: string, request: Init<WatchRequest>): Promise<Outcome> {
    const log = this.#streams.get(name);
    if (!log) return { text: 'no such stream' };
    const before = log.answers;
    const ends = request.cancelRequest?.watchId;
    const isKnown = ends !== undefined && log.has(ends);
    log.send(request);
    if (isKnown) return { text: (await log.until(() => !log.has(ends), PATIENCE_MS)) ? 'ended' : 'not ended' };
    if (request.createRequest === undefined) return { text: 'sent' };
    if (request.createRequest.startRevision) this.#behind = true;
    const answered = await log.until(() => log.answers > before, PATIENCE_MS);
    return { text: answered ? 'answered' : (log.ended ?? 'not answered') };
  }

  async #progress(name: string): Promise<Outcome> {
    const log = this.#streams.get(name);
    if (!log) return { text: 'no such stream' };
    // What is answered to an earlier request is older.
    const answered = (): boolean => log.progressAt >= this.#drainedAt;
    for (let tries = 0; tries < PROGRESS_TRIES; tries += 1) {
      log.send({ progressRequest: {} });
      if (await log.until(answered, PROGRESS_MS)) return { text: `${log.progress}${log.obstacle(this.#drainedAt)}` };
    }
    return { text: `no progress${log.obstacle(this.#drainedAt)}` };
  }

  /**
   * Waits until what was written is heard. etcd looks after watchers that begin in the past every 100 ms, all at once:
   * one more that begins in the past is a sign that it has. What a stream hears about later comes after that.
   */
  async #settle(): Promise<Outcome> {
    if (this.#behind && !(await this.#catchUp())) return { text: 'a watcher hears nothing' };
    this.#behind = false;
    const last = await this.#putSentinel();
    if (typeof last === 'string') return { text: last };
    for (const [name, log] of this.#streams) {
      if (!log.watchesSentinel) continue;
      const reached = await log.until(() => log.sentinelAt >= last, PATIENCE_MS);
      if (!reached) return { text: `${name} hears nothing` };
    }
    this.#drainedAt = last;
    return { text: `drained at ${last}` };
  }

  async #catchUp(): Promise<boolean> {
    const first = await this.#putSentinel();
    if (typeof first === 'string') return true;
    const probe = new WatchLog(this.#client, this.#token('root'));
    probe.send({ createRequest: { key: SENTINEL_KEY, watchId: SENTINEL_WATCH, startRevision: first } });
    const heard = await probe.until(() => probe.sentinelAt >= first, PATIENCE_MS);
    probe.close();
    return heard;
  }

  /** The revision of that, or why it may not be. */
  async #putSentinel(): Promise<bigint | string> {
    const { text, answer } = await this.#call(KV.put, { key: SENTINEL_KEY }, 'root');
    return answer === undefined ? `no sentinel: ${text}` : ((answer as PutResponse).header?.revision ?? 0n);
  }
}
