/** Watch calls for tests, and what they say in short. */
import {
  Watch,
  type WatchCreateRequest,
  type WatchRequest,
  type WatchResponse,
} from '../../../src/protocol/generated/etcdserverpb.ts';
import { type Event, EventType } from '../../../src/protocol/generated/mvccpb.ts';
import { toBytes } from '../../../src/protocol/keys.ts';
import type { Init } from '../../../src/protocol/wire.ts';
import type { ApiOptions } from '../../../src/server/api/guard.ts';
import { watchMethods } from '../../../src/server/api/watch.ts';
import { BidiCall } from './calls.ts';
import { FakeGuard, FakeMember, OPTIONS } from './fake-member.ts';

export const ALL = { key: toBytes('\0'), rangeEnd: toBytes('\0') };

/** A member with Watch, and ways to write to it. */
export function watchSetUp(options: Partial<ApiOptions> = {}) {
  const member = new FakeMember();
  const methods = watchMethods(member, new FakeGuard(member), { ...OPTIONS, ...options });
  // As the member itself, which may do all.
  const propose: FakeMember['propose'] = (request) => member.propose(request, { actor: member.auth.self() });
  return {
    member,
    open: (callOptions: { room?: number; user?: string } = {}) => new WatchCall(member, methods, callOptions),
    put: (key: string, value = '') => propose({ put: { key: toBytes(key), value: toBytes(value) } }),
    del: (key: string, end = '') => propose({ deleteRange: { key: toBytes(key), rangeEnd: toBytes(end) } }),
    compact: (revision: number) => propose({ compaction: { revision: BigInt(revision) } }),
  };
}

export class WatchCall extends BidiCall<WatchRequest, WatchResponse> {
  readonly #member: FakeMember;

  constructor(
    member: FakeMember,
    methods: ConstructorParameters<typeof BidiCall>[0],
    options: { room?: number; user?: string },
  ) {
    super(methods, Watch.watch, options);
    this.#member = member;
  }

  /** Asks, and lets the answer come. */
  async request(request: Init<WatchRequest>): Promise<void> {
    this.write(request);
    await this.#member.clock.settle();
  }

  create(createRequest: Init<WatchCreateRequest>): Promise<void> {
    return this.request({ createRequest });
  }

  cancelWatch(watchId: bigint): Promise<void> {
    return this.request({ cancelRequest: { watchId } });
  }

  /** What has come since the last time, in short. */
  take(): string[] {
    return this.out.sent.splice(0).map(short);
  }
}

/** Such as `#0@5 created`, `#0@5 canceled compacted=3`, `#0@6 a=1 -b(2)+ …`; `…` says that more follows. */
export function short(response: WatchResponse): string {
  const { header, watchId, created, canceled, compactRevision, cancelReason, fragment, events } = response;
  return [
    `#${watchId}@${header?.revision}`,
    ...(created ? ['created'] : []),
    ...(canceled ? ['canceled'] : []),
    ...(compactRevision === 0n ? [] : [`compacted=${compactRevision}`]),
    ...(cancelReason === '' ? [] : [cancelReason]),
    ...events.map(shortEvent),
    ...(fragment ? ['…'] : []),
  ].join(' ');
}

function shortEvent({ type, kv, prevKv }: Event): string {
  const text = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString();
  const before = prevKv ? `(${text(prevKv.value)})` : '';
  const what = type === EventType.DELETE ? `-${text(kv?.key)}` : `${text(kv?.key)}=${text(kv?.value)}`;
  return `${what}${before}@${kv?.modRevision}`;
}
