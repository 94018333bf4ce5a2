/**
 * What is done to both servers, as data: a sequence of steps can be printed, cut shorter and played again.
 *
 * Ids of members differ from server to server: {@link OWN_MEMBER} stands for that of the server that is asked.
 */
import type { WatchRequest } from '../../../src/protocol/generated/etcdserverpb.ts';
import type { Init, MethodDescriptor } from '../../../src/protocol/wire.ts';

// biome-ignore lint/suspicious/noExplicitAny: the methods in a sequence are of different types
export type AnyMethod = MethodDescriptor<any, any>;

/** Who asks: a user that has logged in, nobody (no token), or a token that was never given. */
export type Caller = string | undefined;

/** A token that was never given. */
export const STRANGER = 'a stranger';

/** In a request: the id of the member that gets it. */
export const OWN_MEMBER = 0x6f_77_6e_6f_77_6en;

/** The key that is written when everybody is to have heard everything. */
export const SENTINEL = '~';

/** Id of the watcher that looks for it. */
export const SENTINEL_WATCH = 1_000n;

export type Step =
  /** A request and its answer; of a method that answers with a stream, its first answer. */
  | { readonly kind: 'call'; readonly method: AnyMethod; readonly request: object; readonly as?: Caller }
  /** The same with a request that is no message, maybe. */
  | { readonly kind: 'bytes'; readonly method: AnyMethod; readonly bytes: Uint8Array; readonly as?: Caller }
  /** A stream of keepalives that is ended by the client. */
  | { readonly kind: 'keepalive'; readonly ids: readonly bigint[]; readonly as?: Caller }
  /** A new watch stream, with a watcher of the sentinel. */
  | { readonly kind: 'open'; readonly stream: string; readonly as?: Caller }
  /** A request on a watch stream. One that makes a watcher waits for the answer. */
  | { readonly kind: 'tell'; readonly stream: string; readonly request: Init<WatchRequest> }
  /** Asks a watch stream for its progress until it answers, or it is clear that it never will. */
  | { readonly kind: 'progress'; readonly stream: string }
  | { readonly kind: 'close'; readonly stream: string }
  /** Waits until all watch streams have heard everything, and compares what they have heard. */
  | { readonly kind: 'drain' };

/** A step as one line. */
export function describeStep(step: Step): string {
  if (step.kind === 'call') return `${step.method.path}${by(step.as)} ${show(step.request)}`;
  if (step.kind === 'bytes')
    return `${step.method.path}${by(step.as)} bytes ${Buffer.from(step.bytes).toString('hex')}`;
  if (step.kind === 'keepalive') return `keepalive${by(step.as)} ${show(step.ids)}`;
  if (step.kind === 'drain') return 'drain';
  if (step.kind === 'tell') return `watch stream ${step.stream}: ${show(step.request)}`;
  return `watch stream ${step.stream}: ${step.kind}${step.kind === 'open' ? by(step.as) : ''}`;
}

function by(caller: Caller): string {
  return caller === undefined ? '' : ` as ${caller}`;
}

/** Any value as text: equal texts are equal values. Long runs of one character are told by their length. */
export function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'bigint') return `${value}n`;
  if (value instanceof Uint8Array) return showBytes(value);
  if (Array.isArray(value)) return `[${value.map(show).join(', ')}]`;
  if (value === null || typeof value !== 'object') return String(value);
  const fields = Object.entries(value).filter(([, field]) => field !== undefined);
  return `{${fields.map(([name, field]) => `${name}: ${show(field)}`).join(', ')}}`;
}

function showBytes(bytes: Uint8Array): string {
  const text = Buffer.from(bytes).toString('latin1');
  return JSON.stringify(text.replace(/(.)\1{30,}/g, (run, one) => `${one}*${run.length}`));
}
