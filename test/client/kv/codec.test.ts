import fc from 'fast-check';
import { describe, expect, expectTypeOf, it } from 'vitest';
import * as z from 'zod';
import { DecodeError, EtcdError, InvalidArgumentError } from '../../../src/client/errors.ts';
import { bytes, type Codec, json, number, type StandardSchema, utf8 } from '../../../src/client/kv/codec.ts';
import { KeyValue } from '../../../src/client/kv/key-value.ts';
import { wireKv } from './fake-member.ts';

const CANARY = 'canary-5f1c';

/** Everything that a log would show of an error, with its causes. */
function allTextOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const own = JSON.stringify(error, Object.getOwnPropertyNames(error), 0) ?? '';
  return `${error.message} ${error.stack ?? ''} ${own} ${error.cause === undefined ? '' : allTextOf(error.cause)}`;
}

function caught(attempt: () => unknown): EtcdError {
  try {
    attempt();
  } catch (error) {
    expect(error).toBeInstanceOf(EtcdError);
    return error as EtcdError;
  }
  throw new Error('it did not throw');
}

describe('utf8', () => {
  it('gives back every text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(utf8.decode(utf8.encode(text))).toBe(text);
      }),
    );
    for (const text of ['', '\ufeffmark', 'a\ufffdb', '\0', '😀'.repeat(3000)]) {
      expect(utf8.decode(utf8.encode(text))).toBe(text);
    }
  });

  it('reads bytes as text, or not at all', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 8 }), (value) => {
        let text: string;
        try {
          text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(value);
        } catch {
          expect(() => utf8.decode(value)).toThrow(DecodeError);
          return;
        }
        expect(utf8.decode(value)).toBe(text);
      }),
    );
    expect(() => utf8.decode(Uint8Array.of(0x61, 0xff))).toThrow(/use the bytes codec/);
  });

  it.each([[5], [undefined], [null], [{}], ['half \ud83d pair']])('refuses to write %s', (value) => {
    expect(() => utf8.encode(value as never)).toThrow(InvalidArgumentError);
  });
});

describe('bytes', () => {
  it('gives back every byte, as a copy', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (value) => {
        const stored = bytes.encode(value);
        const read = bytes.decode(stored);
        expect(read).toEqual(value);
        if (read.length > 0) {
          stored[0] = (stored[0] as number) ^ 0xff;
          expect(read[0]).not.toBe(stored[0]);
        }
      }),
    );
  });

  it('copies also out of a Buffer, and keeps nothing of the message', () => {
    const message = Buffer.from('....value....');
    const read = bytes.decode(message.subarray(4, 9));
    expect(Buffer.from(read).toString()).toBe('value');
    expect(read.buffer.byteLength).toBe(5);
  });
});

describe('number', () => {
  it('gives back every number', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true }), (value) => {
        expect(number.decode(number.encode(value)) + 0).toBe(value + 0);
      }),
    );
  });

  it.each(['', ' ', 'abc', '0x10', '0b1', '1_000', 'NaN', '1 2', '--1', 'e5', '.'])('does not read "%s"', (text) => {
    expect(() => number.decode(Buffer.from(text))).toThrow(DecodeError);
  });

  it.each([
    ['12', 12],
    [' 7\n', 7],
    ['-1.5e3', -1500],
    ['.5', 0.5],
    ['Infinity', Infinity],
  ])('reads "%s"', (text, value) => {
    expect(number.decode(Buffer.from(text))).toBe(value);
  });

  it.each([[Number.NaN], ['5'], [5n], [undefined]])('refuses to write %s', (value) => {
    expect(() => number.encode(value as never)).toThrow(InvalidArgumentError);
  });
});

describe('json', () => {
  it('gives back every JSON value', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const codec = json();
        expect(JSON.stringify(codec.decode(codec.encode(value)))).toBe(JSON.stringify(value));
      }),
    );
  });

  const circular: Record<string, unknown> = { secret: CANARY };
  circular['itself'] = circular;
  it.each<[string, unknown]>([
    ['undefined', undefined],
    ['a function', () => CANARY],
    ['a bigint', { secret: CANARY, big: 1n }],
    ['a cycle', circular],
    [
      'a toJSON that throws',
      {
        toJSON: () => {
          throw new Error(CANARY);
        },
      },
    ],
  ])('refuses to write %s, and does not tell the value', (_, value) => {
    const error = caught(() => json().encode(value));
    expect(error).toBeInstanceOf(InvalidArgumentError);
    expect(allTextOf(error)).not.toContain(CANARY);
  });

  it.each([`{"secret": "${CANARY}"`, CANARY, '', '{"a":1}}'])('does not read %s, and does not tell it', (text) => {
    const error = caught(() => json().decode(Buffer.from(text)));
    expect(error).toBeInstanceOf(DecodeError);
    expect(allTextOf(error)).not.toContain(CANARY);
  });

  const User = z.object({ name: z.string().min(1), born: z.iso.datetime().transform((text) => new Date(text)) });

  it('stores the input of a zod schema and reads its output', () => {
    const codec = json(User);
    expectTypeOf(codec).toEqualTypeOf<Codec<{ name: string; born: Date }, { name: string; born: string }>>();
    const stored = codec.encode({ name: 'Ada', born: '1815-12-10T00:00:00Z' });
    expect(JSON.parse(Buffer.from(stored).toString())).toEqual({ name: 'Ada', born: '1815-12-10T00:00:00Z' });
    expect(codec.decode(stored)).toEqual({ name: 'Ada', born: new Date('1815-12-10T00:00:00Z') });
  });

  it('checks when it writes and when it reads, and tells only where the problem is', () => {
    const codec = json(User);
    const written = caught(() => codec.encode({ name: 'Ada', born: CANARY }));
    expect(written).toBeInstanceOf(InvalidArgumentError);
    expect(written.message).toContain('born');
    const read = caught(() => codec.decode(Buffer.from(JSON.stringify({ name: { secret: CANARY }, born: CANARY }))));
    expect(read).toBeInstanceOf(DecodeError);
    expect(read.message).toContain('name, born');
    for (const error of [written, read]) expect(allTextOf(error)).not.toContain(CANARY);
  });

  /** A schema of the specification's bare minimum. */
  function schema<In, Out>(validate: StandardSchema<In, Out>['~standard']['validate']): StandardSchema<In, Out> {
    return { '~standard': { version: 1, vendor: 'test', validate } };
  }

  it('takes any Standard Schema', () => {
    const codec = json(
      schema<string, number>((value) =>
        typeof value === 'string'
          ? { value: value.length }
          : { issues: [{ message: CANARY, path: [{ key: 'deep' }, 0] }] },
      ),
    );
    expectTypeOf(codec).toEqualTypeOf<Codec<number, string>>();
    expect(codec.decode(codec.encode('four'))).toBe(4);
    const error = caught(() => codec.decode(Buffer.from('[]')));
    expect(error.message).toContain('deep.0');
    expect(allTextOf(error)).not.toContain(CANARY);
  });

  it('names a problem of the value itself', () => {
    expect(() => json(schema(() => ({ issues: [{ message: 'no' }] }))).encode(1)).toThrow(/the value itself/);
  });

  it('does not let a schema throw its own errors, which may tell the value', () => {
    const codec = json(
      schema(() => {
        throw new Error(CANARY);
      }),
    );
    for (const error of [caught(() => codec.encode(1)), caught(() => codec.decode(Buffer.from('1')))]) {
      expect(allTextOf(error)).not.toContain(CANARY);
    }
    expect(() => codec.encode(1)).toThrow(InvalidArgumentError);
    expect(() => codec.decode(Buffer.from('1'))).toThrow(DecodeError);
  });

  it('refuses a schema that validates asynchronously, and leaves no rejection behind', async () => {
    const seen: unknown[] = [];
    const listener = (reason: unknown): void => void seen.push(reason);
    process.on('unhandledRejection', listener);
    try {
      const codec = json(schema(() => Promise.reject(new Error('late'))));
      expect(() => codec.encode(1)).toThrow(/asynchronously/);
      expect(() => codec.decode(Buffer.from('1'))).toThrow(/asynchronously/);
      await new Promise((resolve) => setTimeout(resolve, 5));
      expect(seen).toEqual([]);
    } finally {
      process.off('unhandledRejection', listener);
    }
  });
});

describe('KeyValue', () => {
  it('decodes when the value is first read, once', () => {
    let decoded = 0;
    const counting: Codec<object> = {
      encode: () => Buffer.alloc(0),
      decode: () => ({ nth: ++decoded }),
    };
    const kv = new KeyValue(wireKv('k'), counting, 0);
    expect(decoded).toBe(0);
    expect(kv.value).toBe(kv.value);
    expect(decoded).toBe(1);
  });

  it('throws for an unreadable value only when it is read, and shows its bytes and key all the same', () => {
    const kv = new KeyValue(wireKv('users/1', Uint8Array.of(0xff)), utf8, 6);
    expect(kv.key).toBe('1');
    expect(kv.keyBytes).toEqual(Uint8Array.from(Buffer.from('1')));
    expect(kv.valueBytes.length).toBe(1);
    expect(() => kv.value).toThrow(DecodeError);
    expect(() => kv.value).toThrow(DecodeError);
  });

  it('shows its size and never its value', async () => {
    const { inspect } = await import('node:util');
    const kv = new KeyValue({ ...wireKv('k', CANARY), lease: -1n }, utf8, 0);
    void kv.value;
    const shown = `${inspect(kv)} ${inspect({ deep: [kv] })} ${JSON.stringify(kv)} ${String(kv)}`;
    expect(shown).toContain(`"k" (${CANARY.length} bytes) mod=5`);
    expect(shown).toContain('lease=ffffffffffffffff');
    expect(shown).not.toContain(CANARY);
    expect(kv.lease).toBe(-1n);
  });
});
