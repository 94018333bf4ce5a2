/**
 * Trace context on its way with a call: W3C `traceparent` and `tracestate` in gRPC metadata.
 *
 * What is written is up to the program's propagator; without an SDK there is none, and
 * nothing is written. Baggage is left behind: the server has no use for it, it may be large,
 * and it may hold what is nobody's business there. etcd's own tracing
 * (`--experimental-enable-distributed-tracing`) reads the same headers, and so does the
 * bundled server.
 *
 * Source: W3C Trace Context, Recommendation of 2021-11-23.
 *
 * @module
 */

import { type Context, propagation, ROOT_CONTEXT, type TextMapGetter, type TextMapSetter } from '@opentelemetry/api';

/** Metadata of a call, keys in lower case. */
export type Carrier = Readonly<Record<string, string>>;

/** Metadata of a call that came in: the first value of a name, in lower case. */
export interface IncomingMetadata {
  get(name: string): string | undefined;
}

const BAGGAGE = 'baggage';

const setter: TextMapSetter<Record<string, string>> = {
  set: (carrier, key, value) => {
    if (key !== BAGGAGE) carrier[key] = value;
  },
};

/** A propagator asks for its own names, so none has to be listed. */
const getter: TextMapGetter<IncomingMetadata> = {
  get: (metadata, name) => (name === BAGGAGE ? undefined : metadata.get(name)),
  keys: () => [],
};

/** The metadata with the trace context added, as a new object; the same one when there is none to add. */
export function withTraceContext(metadata: Carrier, parent: Context): Carrier {
  const added: Record<string, string> = {};
  propagation.inject(parent, added, setter);
  for (const _ in added) return { ...metadata, ...added };
  return metadata;
}

/** The context that came with a call: the parent of what is done for it. Outside of any trace when none came. */
export function extractTraceContext(metadata: IncomingMetadata): Context {
  return propagation.extract(ROOT_CONTEXT, metadata, getter);
}
