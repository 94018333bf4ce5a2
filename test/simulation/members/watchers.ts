/**
 * Clients that watch: each goes on where it has left off whenever its stream ends, at any member.
 *
 * What a stream sends takes its time and keeps its order; what is on its way when the connection breaks is lost. Some
 * readers are slow, and take little at a time.
 */
import { Watch, type WatchRequest, WatchResponse } from '../../../src/protocol/generated/etcdserverpb.ts';
import { fromLatin1 } from '../../../src/protocol/keys.ts';
import type { Init } from '../../../src/protocol/wire.ts';
import { Encoded, type Outlet, type Reply } from '../../../src/server/rpc/call.ts';
import type { KeyRange } from '../../checkers/history.ts';
import type { WatcherHistory, WatchStep } from '../../checkers/watch-checker.ts';
import { revisionOf, watchEvent } from '../../checkers/wire.ts';
import type { Random } from '../world/random.ts';
import { SimCall } from './call.ts';
import type { MembersCluster } from './cluster.ts';
import type { Machine } from './machine.ts';

/** What a slow reader takes at a time, and how long it thinks about that, in µs. */
const SLOW_ROOM = 2;
const SLOW_READ_US = 20_000;
const RETRY_US = 20_000;

interface Watched {
  readonly range: KeyRange;
  readonly prevKv: boolean;
  readonly noPut: boolean;
  readonly noDelete: boolean;
  readonly slow: boolean;
}

export class Watchers {
  readonly #watchers: Watcher[] = [];
  readonly #cluster: MembersCluster;
  readonly #random: Random;

  constructor(cluster: MembersCluster, random: Random) {
    this.#cluster = cluster;
    this.#random = random;
  }

  run(): void {
    const { options } = this.#cluster;
    for (let n = 0; n < options.watchers; n += 1) {
      const random = this.#random.fork(`watcher ${n}`);
      const range = random.pick<KeyRange>([{ key: '\0', end: '\0' }, { key: 'k', end: 'l' }, { key: 'k1' }]);
      const watched = {
        range,
        prevKv: random.chance(0.5),
        noPut: random.chance(0.1),
        noDelete: random.chance(0.1),
        slow: random.chance(0.3),
      };
      const watcher = new Watcher(this.#cluster, random, watched, `w${n}`);
      this.#watchers.push(watcher);
      watcher.connect();
    }
  }

  /** Whether everybody has been told all there is up to a revision, as far as a watcher can know. */
  caughtUp(revision: number): boolean {
    return this.#watchers.every((watcher) => watcher.knows >= revision);
  }

  /** What they were told. @param completeTo They have had time to get everything up to there. */
  histories(completeTo: number): readonly WatcherHistory[] {
    return this.#watchers.flatMap((watcher) => watcher.histories(completeTo));
  }
}

/** One watch, through all of its streams. */
class Watcher {
  /** Everything up to there was delivered, or a progress revision says so. */
  knows = 0;
  readonly #cluster: MembersCluster;
  readonly #random: Random;
  readonly #watched: Watched;
  readonly #name: string;
  readonly #past: WatcherHistory[] = [];
  #steps: WatchStep[] = [];
  /** The first revision that was asked for when it began; 0: none. */
  #from = 0;
  #stream = 0;

  constructor(cluster: MembersCluster, random: Random, watched: Watched, name: string) {
    this.#cluster = cluster;
    this.#random = random;
    this.#watched = watched;
    this.#name = name;
  }

  histories(completeTo: number): readonly WatcherHistory[] {
    return [...this.#past, { ...this.#history(), completeTo }];
  }

  connect(): void {
    const { machines, awake, scheduler } = this.#cluster;
    const machine = this.#random.pick(awake.length > 0 ? awake : machines);
    this.#stream += 1;
    const stream = this.#stream;
    scheduler.after(this.#delayUs(), () => {
      if (!machine.awake) this.#again(stream);
      else machine.process.run(() => this.#open(machine, stream));
    });
  }

  #open(machine: Machine, stream: number): void {
    const method = machine.methods?.get(Watch.watch.path);
    if (method?.kind !== 'bidi') return this.#again(stream);
    const { scheduler, journal } = this.#cluster;
    const run = machine.process;
    const call = new SimCall(Watch.watch.path);
    const broken = (): void => scheduler.after(this.#delayUs(), () => this.#again(stream));
    machine.calls.add(broken);
    const out = this.#outlet(stream, run, () => {
      machine.calls.delete(broken);
      run.run(() => call.cancel());
    });
    journal.note('client', machine.ordinal, 10);
    const requests = this.#requests(call.signal);
    method.handle(requests, call, out).then(
      () => run.alive && machine.calls.delete(broken) && broken(),
      () => run.alive && machine.calls.delete(broken) && broken(),
    );
  }

  #outlet(stream: number, run: Machine['process'], hangUp: () => void): Outlet<unknown> {
    const { scheduler } = this.#cluster;
    const { slow } = this.#watched;
    let lastUs = 0;
    let unread = 0;
    let waiting: (() => void)[] = [];
    return {
      send: (reply: Reply<unknown>) => {
        const bytes = reply instanceof Encoded ? reply.bytes : WatchResponse.encode(reply);
        const response = WatchResponse.decode(new Uint8Array(bytes));
        unread += 1;
        lastUs = Math.max(lastUs, scheduler.nowUs + this.#delayUs()) + (slow ? this.#random.below(SLOW_READ_US) : 0);
        scheduler.at(lastUs, () => {
          unread -= 1;
          const resumed = waiting;
          waiting = [];
          run.run(() => {
            for (const resume of resumed) resume();
          });
          if (stream === this.#stream && !this.#take(response)) {
            hangUp();
            this.#again(stream);
          }
        });
        return !slow || unread < SLOW_ROOM;
      },
      drained: () => new Promise((resolve) => waiting.push(resolve)),
    };
  }

  async *#requests(signal: AbortSignal): AsyncGenerator<WatchRequest, void, undefined> {
    const { range, prevKv, noPut, noDelete } = this.#watched;
    const startRevision = this.knows > 0 ? this.knows + 1 : 0;
    if (this.#steps.length > 0) this.#steps.push({ kind: 'resumed', startRevision });
    else this.#from = startRevision;
    const filters = [...(noPut ? [0] : []), ...(noDelete ? [1] : [])] as (0 | 1)[];
    yield decodedRequest({
      createRequest: {
        key: fromLatin1(range.key),
        rangeEnd: fromLatin1(range.end ?? ''),
        startRevision: BigInt(startRevision),
        progressNotify: true,
        prevKv,
        filters,
        watchId: 0n,
        fragment: this.#random.chance(0.5),
      },
    });
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  }

  /** Takes an answer. Says whether the stream goes on. */
  #take(response: WatchResponse): boolean {
    const { journal } = this.#cluster;
    const { created, canceled, compactRevision, events, fragment } = response;
    const revision = revisionOf(response.header);
    journal.note('client', 0, 11 + events.length);
    if (canceled && compactRevision > 0n) {
      this.#steps.push({ kind: 'canceled', compactRevision: Number(compactRevision) });
      this.#past.push(this.#history());
      this.#steps = [];
      this.#cluster.count('watches compacted');
      this.knows = Number(compactRevision) - 1;
      return false;
    }
    if (canceled) return false;
    if (created) {
      this.#steps.push({ kind: 'created', revision });
      if (this.knows === 0) this.knows = revision;
    } else if (events.length > 0) {
      this.#steps.push({ kind: 'events', revision, events: events.map(watchEvent), fragment });
      this.#cluster.count('watch answers');
      if (!fragment) this.knows = Math.max(this.knows, Number(events.at(-1)?.kv?.modRevision ?? 0n));
    } else {
      this.#steps.push({ kind: 'progress', revision });
      this.knows = Math.max(this.knows, revision);
    }
    return true;
  }

  /** The stream is over: goes on with another one. */
  #again(stream: number): void {
    if (stream !== this.#stream) return;
    this.#stream += 1;
    this.#cluster.scheduler.after(this.#random.below(RETRY_US), () => this.connect());
  }

  #history(): WatcherHistory {
    const { range, prevKv, noPut, noDelete } = this.#watched;
    const name = `${this.#name}.${this.#past.length}`;
    return { name, range, prevKv, noPut, noDelete, startRevision: this.#from, steps: this.#steps };
  }

  #delayUs(): number {
    return 50 + this.#random.below(400);
  }
}

function decodedRequest(init: Init<WatchRequest>): WatchRequest {
  return Watch.watch.request.decode(new Uint8Array(Watch.watch.request.encode(init)));
}
