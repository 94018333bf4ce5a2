/**
 * One watch stream of one server, and what it has said so far.
 *
 * Which events share a response is a matter of time, but for those of one revision; and so is the order between
 * watchers. So the log has one list for each watcher, of single events, answers and ends.
 */
import { type Client, type ClientDuplexStream, Metadata, type ServiceError } from '@grpc/grpc-js';
import { Watch, type WatchRequest, type WatchResponse } from '../../../src/protocol/generated/etcdserverpb.ts';
import type { Init } from '../../../src/protocol/wire.ts';
import { normaliseHeader } from './normalise.ts';
import { SENTINEL, SENTINEL_WATCH, show } from './steps.ts';

const { path, request: requestCodec, response: responseCodec } = Watch.watch;

export class WatchLog {
  /** Everything said, by the watcher. */
  readonly #said = new Map<bigint, string[]>();
  readonly #stream: ClientDuplexStream<Init<WatchRequest>, WatchResponse>;
  readonly #listeners = new Set<() => void>();
  /** What breaks a rule that no comparison shows. */
  readonly faults: string[] = [];
  /** Last revision at which the sentinel was seen. */
  sentinelAt = 0n;
  /** Answers to requests that make watchers, or tell that there can't be one. */
  answers = 0;
  /** Revision of the last answer about progress, and that answer. */
  progressAt = 0n;
  progress = '';
  /** Why it ended by itself. */
  ended: string | undefined;
  #watchesSentinel = false;
  /** Watchers that the server has ended, and the client has not. */
  readonly #over = new Set<bigint>();
  /** All that the client has not ended, with the first revisions that were asked for. */
  readonly #watchers = new Map<bigint, bigint>();
  #asked = 0n;
  #closed = false;

  constructor(client: Client, token: string | undefined) {
    const metadata = new Metadata();
    if (token !== undefined) metadata.set('token', token);
    this.#stream = client.makeBidiStreamRequest(
      path,
      requestCodec.encode,
      (bytes: Buffer) => responseCodec.decode(bytes),
      metadata,
    );
    this.#stream.on('data', (response: WatchResponse) => {
      this.#take(response);
      this.#wake();
    });
    this.#stream.on('error', (error: ServiceError) => {
      if (!this.#closed) this.ended = `${error.code} ${error.details}`;
      this.#wake();
    });
  }

  /** Whether the sentinel will be seen. */
  get watchesSentinel(): boolean {
    return this.#watchesSentinel && this.ended === undefined;
  }

  /** Whether a watcher's id is taken: until the client has ended it. */
  has(watchId: bigint): boolean {
    return this.#watchers.has(watchId);
  }

  send(request: Init<WatchRequest>): void {
    this.#asked = request.createRequest?.startRevision ?? this.#asked;
    this.#stream.write(request);
  }

  /** What may keep the stream from telling its progress at a revision. */
  obstacle(revision: bigint): string {
    const furthest = [...this.#watchers.values()].reduce((most, from) => (from > most ? from : most), 0n);
    const ahead = furthest - revision;
    return `${ahead > 0n ? `, one waits for ${ahead} revisions` : ''}${this.#over.size > 0 ? ', one is over' : ''}`;
  }

  close(): void {
    this.#closed = true;
    this.#stream.cancel();
  }

  /** Everything so far, as text. */
  get text(): string {
    const watchers = [...this.#said].sort(([a], [b]) => (a < b ? -1 : 1));
    const lines = watchers.flatMap(([id, said]) => said.map((each) => `watcher ${id}: ${each}`));
    return [...lines, ...this.faults, ...(this.ended === undefined ? [] : [`ended: ${this.ended}`])].join('\n');
  }

  /** Resolves once `condition` holds, or the stream has ended, or the time is up. */
  async until(condition: () => boolean, timeoutMs: number): Promise<boolean> {
    const given = AbortSignal.timeout(timeoutMs);
    while (!condition() && this.ended === undefined && !given.aborted) {
      await new Promise<void>((resolve) => {
        const done = (): void => {
          this.#listeners.delete(done);
          given.removeEventListener('abort', done);
          resolve();
        };
        this.#listeners.add(done);
        given.addEventListener('abort', done);
      });
    }
    return condition();
  }

  #wake(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  #take(response: WatchResponse): void {
    const { watchId, created, canceled, compactRevision, cancelReason, fragment, events } = response;
    const header = normaliseHeader({ ...response.header });
    if (created || canceled) {
      this.answers += created ? 1 : 0;
      if (watchId === SENTINEL_WATCH && created) this.#watchesSentinel = !canceled;
      // A watcher that ends may end at any time: whether there is a revision is a rule, but not which.
      const when = created || header.revision === 0n ? header : { ...header, revision: 'set' };
      this.#say(watchId, show({ header: when, created, canceled, compactRevision, cancelReason }));
      this.#learn(response);
    } else if (events.length === 0) {
      this.progressAt = response.header?.revision ?? 0n;
      this.progress = show({ watchId, header });
    } else if (watchId !== SENTINEL_WATCH) {
      this.#events(response);
    }
    if (fragment) this.#say(watchId, 'a fragment ends');
    if (watchId === SENTINEL_WATCH) {
      for (const { kv } of events) this.sentinelAt = kv?.modRevision ?? 0n;
    }
  }

  #learn({ watchId, created, canceled, compactRevision }: WatchResponse): void {
    if (created && !canceled) this.#watchers.set(watchId, this.#asked);
    if (!canceled || created) return;
    if (compactRevision !== 0n) {
      this.#over.add(watchId);
      return;
    }
    this.#over.delete(watchId);
    this.#watchers.delete(watchId);
  }

  #events({ watchId, header, events }: WatchResponse): void {
    const { revision, ...rest } = normaliseHeader({ ...header });
    for (const { type, kv, prevKv } of events) {
      // The sentinel is written as often as it takes.
      if (Buffer.from(kv?.key ?? []).toString() === SENTINEL) continue;
      if ((revision as bigint) < (kv?.modRevision ?? 0n)) this.faults.push(`header at ${revision} before an event`);
      this.#say(watchId, show({ ...rest, type, kv, prevKv }));
    }
  }

  #say(watchId: bigint, what: string): void {
    const said = this.#said.get(watchId) ?? [];
    said.push(what);
    this.#said.set(watchId, said);
  }
}
