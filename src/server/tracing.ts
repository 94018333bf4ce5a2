/**
 * What of a request's way through the server is timed, as the server sees it: spans, with no telemetry library in them.
 *
 * A call is a span; so is its proposal, on the member that got the call. The entry carries the proposal's name through
 * the log (`member/trace-link.ts`), and whoever works on the entry begins a span below it: the leader while others take
 * it over, each member while its disk writes and while it applies. So one trace goes over all members.
 *
 * Obligations of who implements it: nothing here throws or waits, and what is not recorded is `undefined`, so that a
 * request of which nobody keeps a trace pays one comparison at each place. Obligations of who uses it: a span that was
 * begun is ended, once, whatever becomes of its work; no key, value, password or token is an attribute.
 *
 * `tracing-otel.ts` implements it on the OpenTelemetry API. A member that is given none, as in the simulator, times
 * nothing and reads no entry for it.
 *
 * @module
 */
import { ETCD } from '../telemetry/semconv.ts';

/** Names a span of a trace that is recorded: 16 bytes of trace id, 8 of span id, as W3C's Trace Context has them. */
export type TraceLink = Uint8Array;

/** Bytes of a {@link TraceLink}. */
export const TRACE_LINK_BYTES = 24;

/** What is said of a piece of work. */
export type WorkAttributes = Readonly<Record<string, string | number | boolean>>;

/**
 * A piece of work on a request:
 *
 * - `raft.propose`: from a request that is encoded until it is applied at the member that was asked.
 * - `raft.read_index`: until a linearizable read may look at the state.
 * - `raft.replicate`: at the leader, from the entry in its log until a quorum has it.
 * - `wal.sync`: at each member with a disk, until the entry is durable.
 * - `apply`: at each member, what applying the entry takes.
 */
export type WorkName = 'raft.propose' | 'raft.read_index' | 'raft.replicate' | 'wal.sync' | 'apply';

/** Work that is being timed, and that somebody keeps. */
export interface WorkSpan {
  /** For the log, so that other members go on from here. Undefined: it is recorded here, and not to be elsewhere. */
  readonly link: TraceLink | undefined;
  /** Begins a part of it. Undefined: nobody keeps that. */
  begin(name: WorkName): WorkSpan | undefined;
  set(attributes: WorkAttributes): void;
  /** @param failure What kind of failure it ended with: a short, fixed word. */
  end(failure?: string): void;
}

/** Times the work on entries. */
export interface EntryTracing {
  /** Begins work below a span of this or another member. Undefined: nobody keeps that. */
  begin(name: WorkName, link: TraceLink, attributes: WorkAttributes): WorkSpan | undefined;
}

/** What is done, as a part of `span`. */
export async function during<T>(span: WorkSpan, name: WorkName, work: Promise<T>): Promise<T> {
  const part = span.begin(name);
  try {
    const result = await work;
    part?.end();
    return result;
  } catch (error) {
    part?.end('failed');
    throw error;
  }
}

/** What spans say of the member that works. */
export function memberAttributes(id: bigint): WorkAttributes {
  return { [ETCD.memberId]: id.toString(16) };
}
