/**
 * What the generated messages stand on: the types that users of a message see, and the codec runtime.
 *
 * Invariants: decoding takes what the protobuf specification takes, except that a known field with a foreign wire type
 * is refused, and throws nothing but {@link WireError}. Encoding gives fields in ascending order, leaves out proto3's
 * defaults, and is synchronous, so one writer serves everybody.
 *
 * @module
 */
import { type FieldNames, WireError } from './wire/error.ts';
import { Reader } from './wire/reader.ts';
import { Writer } from './wire/writer.ts';

export { type FieldNames, WireError } from './wire/error.ts';
export { EMPTY, Reader } from './wire/reader.ts';
export { Writer } from './wire/writer.ts';

/**
 * What can be encoded as a `T`: every field may be left out or `undefined`, at any depth. A decoded message is one
 * too.
 */
export type Init<T> = T extends bigint | number | string | boolean | Uint8Array | undefined
  ? T
  : T extends readonly (infer Element)[]
    ? readonly Init<Element>[]
    : { readonly [Field in keyof T]?: Init<T[Field]> | undefined };

/** Turns messages of one type into bytes and back. Its functions can be passed around without their object. */
export interface MessageCodec<T> {
  /** Full protobuf name, such as `etcdserverpb.PutRequest`. */
  readonly typeName: string;
  /**
   * Gives the bytes of a message. They lie in memory shared with other messages; nothing overwrites them, but copy
   * what is to be kept for long.
   *
   * @throws WireError when a number is out of its field's range.
   */
  readonly encode: (message: Init<T>) => Buffer;
  /**
   * Reads a message. `bytes` fields are views into the input, as plain `Uint8Array`s: each keeps the whole input
   * alive, so copy a small one that is to outlive a large message. Numbers that an enum does not name come through as
   * they are.
   *
   * @throws WireError when the input is no such message.
   */
  readonly decode: (bytes: Uint8Array) => T;
}

/** How many messages go each way. etcd has no method that only the client streams to. */
export type MethodKind = 'unary' | 'server-stream' | 'bidi';

/** One method of a gRPC service. */
export interface MethodDescriptor<I, O> {
  /** Path of the HTTP/2 request, such as `/etcdserverpb.KV/Range`. */
  readonly path: `/${string}/${string}`;
  readonly kind: MethodKind;
  readonly request: MessageCodec<I>;
  readonly response: MessageCodec<O>;
}

/** The methods of one gRPC service, by their name in lower camel case. */
// biome-ignore lint/suspicious/noExplicitAny: the messages differ from method to method
export type ServiceDescriptor = Readonly<Record<string, MethodDescriptor<any, any>>>;

/** Shared by all codecs: encoding never interleaves. */
const writer = new Writer();

/** Makes the codec of one message from its generated functions. */
export function codec<T>(
  typeName: string,
  write: (writer: Writer, message: Init<T>) => void,
  read: (reader: Reader, end: number, into: T | undefined) => T,
): MessageCodec<T> {
  return {
    typeName,
    encode(message) {
      try {
        writer.begin();
        write(writer, message);
        return writer.finish();
      } catch (error) {
        throw error instanceof WireError ? new WireError(error.reason, { messageType: typeName }) : error;
      }
    },
    decode(bytes) {
      const reader = new Reader(bytes);
      return read(reader, reader.end, undefined);
    },
  };
}

/** Describes one method; spares the generated services a type annotation each. */
export function method<const Path extends `/${string}/${string}`, const Kind extends MethodKind, I, O>(
  path: Path,
  kind: Kind,
  request: MessageCodec<I>,
  response: MessageCodec<O>,
): MethodDescriptor<I, O> & { readonly path: Path; readonly kind: Kind } {
  return { path, kind, request, response };
}

/**
 * Says where an error happened, unless a message further inside has said so already. Called by the `read…` functions.
 */
export function located(error: unknown, messageType: string, names: FieldNames, tag: number): unknown {
  if (!(error instanceof WireError) || error.messageType !== undefined) return error;
  const field = tag >>> 3;
  return new WireError(error.reason, {
    messageType,
    ...(tag === 0 ? {} : { field: names[field] ?? String(field) }),
    offset: error.offset,
  });
}
