/**
 * How values become bytes and back.
 *
 * @module
 */

import { toLatin1, viewAsBuffer } from '../../protocol/keys.ts';
import { DecodeError, InvalidArgumentError } from '../errors.ts';
import { bytesOf } from './target.ts';

/**
 * Turns values into bytes and back. `Out` is what reading gives; `In` is what writing
 * takes, which differs only where a schema transforms.
 */
export interface Codec<Out, In = Out> {
  /** @throws InvalidArgumentError when the value cannot be written. */
  encode(value: In): Uint8Array;
  /** May keep no reference to `bytes`: they are part of a larger message. @throws DecodeError when they are not what `encode` makes. */
  decode(bytes: Uint8Array): Out;
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Text as UTF-8, without losing a byte: what is not UTF-8 is an error, never a replacement character. */
function decodeUtf8(bytes: Uint8Array): string {
  const text = viewAsBuffer(bytes).toString('utf8');
  // The fast decoder writes U+FFFD for what it can't read. It may also just stand there, so ask the slow one.
  if (text.includes('\uFFFD')) {
    try {
      return strictUtf8.decode(bytes);
    } catch (cause) {
      throw new DecodeError('the value is not UTF-8: use the bytes codec', { cause });
    }
  }
  return text;
}

/** Text as UTF-8; the codec of a client that was given no other. */
export const utf8: Codec<string, string | Uint8Array> = {
  encode: (value) => bytesOf(value, 'the value'),
  decode: decodeUtf8,
};

/** Bytes as they are. */
export const bytes: Codec<Uint8Array, string | Uint8Array> = {
  encode: utf8.encode,
  // A copy: a view would keep the whole message in memory for as long as the value lives.
  decode: (value) => new Uint8Array(value),
};

/** Numbers in decimal text, so that etcdctl and people can read them. */
export const number: Codec<number> = {
  encode(value) {
    if (typeof value !== 'number' || Number.isNaN(value)) throw new InvalidArgumentError('the value is not a number');
    return Buffer.from(String(value), 'latin1');
  },
  decode(value) {
    const text = toLatin1(value).trim();
    if (!DECIMAL.test(text)) throw new DecodeError('the value is not a number in decimal text');
    return Number(text);
  },
};

const DECIMAL = /^[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|Infinity)$/i;

/**
 * The part of a schema that this package uses, as the Standard Schema specification has it
 * (https://standardschema.dev, version 1): zod, valibot, arktype and others implement it.
 */
export interface StandardSchema<In = unknown, Out = In> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    /** Checks a value, and may transform it. Must answer at once: an asynchronous answer is an error here. */
    readonly validate: (value: unknown) => StandardResult<Out> | Promise<StandardResult<Out>>;
    readonly types?: { readonly input: In; readonly output: Out } | undefined;
  };
}

/** What a Standard Schema answers: a value, or what is wrong and where. */
export type StandardResult<Out> =
  | { readonly value: Out; readonly issues?: undefined }
  | { readonly issues: readonly StandardIssue[] };

/** One thing that is wrong with a value. */
export interface StandardIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** JSON of any shape. */
export function json<T = unknown>(): Codec<T>;
/**
 * JSON of one shape, checked when it is written and when it is read. What is stored is
 * the schema's input; what is read is its output.
 */
export function json<In, Out>(schema: StandardSchema<In, Out>): Codec<Out, In>;
export function json(schema?: StandardSchema): Codec<unknown> {
  return {
    encode(value) {
      if (schema !== undefined) {
        const misfit = check(schema, value);
        if (typeof misfit === 'string') throw new InvalidArgumentError(misfit);
      }
      return Buffer.from(stringify(value), 'utf8');
    },
    decode(value) {
      let parsed: unknown;
      try {
        parsed = JSON.parse(decodeUtf8(value));
      } catch {
        // The parser's message quotes the text, and values never reach an error.
        throw new DecodeError('the value is not JSON');
      }
      if (schema === undefined) return parsed;
      const fitted = check(schema, parsed);
      if (typeof fitted === 'string') throw new DecodeError(fitted);
      return fitted.value;
    },
  };
}

function stringify(value: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch {
    // What is thrown may come from a `toJSON` and quote the value.
    throw new InvalidArgumentError('the value has no JSON: it holds a bigint, itself, or a toJSON that throws');
  }
  if (text === undefined) throw new InvalidArgumentError(`a ${typeof value} has no JSON`);
  return text;
}

/** What the schema makes of a value, or a text that says why it makes nothing of it. */
function check(schema: StandardSchema, value: unknown): { readonly value: unknown } | string {
  let result: StandardResult<unknown> | Promise<StandardResult<unknown>>;
  try {
    result = schema['~standard'].validate(value);
  } catch {
    return 'the schema failed on the value'; // in the schema's own words, which may quote the value
  }
  if ('then' in result) {
    result.then(undefined, () => {});
    throw new InvalidArgumentError('a schema that validates asynchronously cannot be used here');
  }
  return result.issues ? `the value does not fit its schema: ${explain(result.issues)}` : result;
}

/** Where the problems are. Messages of schemas may quote the value, so only paths are told. */
function explain(issues: readonly StandardIssue[]): string {
  const places = issues.map(({ path = [] }) => {
    const names = path.map((part) => String(typeof part === 'object' ? part.key : part));
    return names.length === 0 ? 'the value itself' : names.join('.');
  });
  return [...new Set(places)].slice(0, 10).join(', ');
}
