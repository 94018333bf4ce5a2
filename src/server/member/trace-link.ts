/**
 * How an entry carries the name of its trace: as a field of the request that etcd does not know.
 *
 * Only entries of requests whose trace is recorded have it; all others are etcd's to the byte. Protobuf lets a reader
 * pass over fields that it does not know, and etcd's members and tools do: none of them sees, keeps or counts it. The
 * field is outside what is applied, so it can make no difference between members. `docs/decisions.md` says what else
 * there was.
 *
 * The field is the last one of the message: any request plus 30 bytes is the same request with a link. So looking for
 * it costs a look at the end, and a walk over the fields before it only if that looks right.
 *
 * @module
 */
import { Reader, WireError } from '../../protocol/wire.ts';
import { TRACE_LINK_BYTES, type TraceLink } from '../tracing.ts';

/** Far from the numbers that etcd gives, which are below 2,000. */
const FIELD_NUMBER = 500_000_007;
const LENGTH_DELIMITED = 2;

/** Tag and length, as they stand before the link. */
const HEAD = Uint8Array.from([...varint(FIELD_NUMBER * 8 + LENGTH_DELIMITED), TRACE_LINK_BYTES]);

/** What a request grows by. */
export const LINK_FIELD_BYTES = HEAD.length + TRACE_LINK_BYTES;

const NO_NAMES = {};

/** An encoded request, with a link. */
export function withLink(request: Uint8Array, link: TraceLink): Uint8Array {
  const data = new Uint8Array(request.length + LINK_FIELD_BYTES);
  data.set(request);
  data.set(HEAD, request.length);
  data.set(link, request.length + HEAD.length);
  return data;
}

/** The link of an entry's data, if it has one. It is a view into the data. */
export function linkOf(data: Uint8Array): TraceLink | undefined {
  const at = data.length - LINK_FIELD_BYTES;
  if (at < 0) return undefined;
  for (let i = 0; i < HEAD.length; i++) if (data[at + i] !== HEAD[i]) return undefined;
  return isFieldAt(data, at) ? data.subarray(at + HEAD.length) : undefined;
}

/** A value may end in the same bytes. */
function isFieldAt(data: Uint8Array, at: number): boolean {
  const reader = new Reader(data);
  try {
    while (reader.pos < at) reader.unknown(reader.tag(), NO_NAMES);
  } catch (error) {
    if (error instanceof WireError) return false;
    throw error;
  }
  return reader.pos === at;
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) + 0x80);
  return [...bytes, rest];
}
