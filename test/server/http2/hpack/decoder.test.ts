import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HeaderDecoder } from '../../../../src/server/http2/hpack/decoder.ts';
import { encodeHeaders } from '../../../../src/server/http2/hpack/encoder.ts';
import type { Field } from '../../../../src/server/http2/hpack/field.ts';
import { ConnectionError } from '../../../../src/server/http2/protocol.ts';
import { integer, literal } from '../wire.ts';

const LIMIT = 4_096;

function decode(decoder: HeaderDecoder, bytes: Buffer | string): string[] | undefined {
  const block = typeof bytes === 'string' ? Buffer.from(bytes.replaceAll(' ', ''), 'hex') : bytes;
  return texts(decoder.decode(block, 0, block.length));
}

function texts(fields: readonly Field[] | undefined): string[] | undefined {
  return fields?.map(({ name, value }) => `${name}: ${value}`);
}

const GET = [':method: GET', ':scheme: http', ':path: /', ':authority: www.example.com'];
const THIRD = [
  ':method: GET',
  ':scheme: https',
  ':path: /index.html',
  ':authority: www.example.com',
  'custom-key: custom-value',
];
const DATE = 'date: Mon, 21 Oct 2013 20:13:21 GMT';
const LOCATION = 'location: https://www.example.com';
const RESPONSES = [
  [':status: 302', 'cache-control: private', DATE, LOCATION],
  [':status: 307', 'cache-control: private', DATE, LOCATION],
  [
    ':status: 200',
    'cache-control: private',
    'date: Mon, 21 Oct 2013 20:13:22 GMT',
    LOCATION,
    'content-encoding: gzip',
    'set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1',
  ],
];

describe('the examples of RFC 7541, appendix C', () => {
  it.each([
    ['400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572', 'custom-key: custom-header'],
    ['040c 2f73 616d 706c 652f 7061 7468', ':path: /sample/path'],
    ['1008 7061 7373 776f 7264 0673 6563 7265 74', 'password: secret'],
    ['82', ':method: GET'],
  ])('C.2: %s', (hex, field) => {
    expect(decode(new HeaderDecoder(LIMIT), hex)).toEqual([field]);
  });

  it.each([
    [
      'C.3',
      '8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
      '8286 84be 5808 6e6f 2d63 6163 6865',
      '8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65',
    ],
    [
      'C.4',
      '8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff',
      '8286 84be 5886 a8eb 1064 9cbf',
      '8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf',
    ],
  ])('%s: requests on one connection', (_name, first, second, third) => {
    const decoder = new HeaderDecoder(LIMIT);
    expect(decode(decoder, first)).toEqual(GET);
    expect(decode(decoder, second)).toEqual([...GET, 'cache-control: no-cache']);
    expect(decode(decoder, third)).toEqual(THIRD);
  });

  it.each([
    [
      'C.5',
      `4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d
       546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d`,
      '4803 3330 37c1 c0bf',
      `88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f
       6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b
       2076 6572 7369 6f6e 3d31`,
    ],
    [
      'C.6',
      `4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7
       8f0b 97c8 e9ae 82ae 43d3`,
      '4883 640e ffc1 c0bf',
      `88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335
       dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07`,
    ],
  ])('%s: fields that are evicted from a table of 256 bytes', (_name, ...blocks) => {
    const decoder = new HeaderDecoder(LIMIT);
    const all = blocks.map((block, at) => decode(decoder, `${at === 0 ? '3fe101' : ''}${block.replaceAll(/\s/g, '')}`));
    expect(all).toEqual(RESPONSES);
    // Three fields are left, and no fourth.
    expect(decode(decoder, 'be bf c0')).toHaveLength(3);
    expect(() => decode(decoder, 'c1')).toThrow(ConnectionError);
  });
});

describe('a block', () => {
  it('that is the same as the last gives the same fields, as long as the table is the same', () => {
    const decoder = new HeaderDecoder(LIMIT);
    decode(decoder, literal(['a', '1'], 0x40));
    const block = Buffer.of(0x82, 0xbe);
    const first = decoder.decode(block, 0, 2);
    expect(decoder.decode(Buffer.of(9, 0x82, 0xbe, 9), 1, 3)).toBe(first);
    decode(decoder, literal(['b', '2'], 0x40));
    expect(texts(decoder.decode(block, 0, 2))).toEqual([':method: GET', 'b: 2']);
    // A table of another size has lost them.
    decode(decoder, '20');
    expect(() => decoder.decode(block, 0, 2)).toThrow(ConnectionError);
  });

  it('that puts a field into the table does so each time', () => {
    const decoder = new HeaderDecoder(LIMIT);
    const block = literal(['a', '1'], 0x40);
    for (let i = 0; i < 3; i++) decode(decoder, block);
    expect(decode(decoder, 'be bf c0')).toEqual(['a: 1', 'a: 1', 'a: 1']);
    expect(() => decode(decoder, 'c1')).toThrow(ConnectionError);
  });

  it('that counts more than the limit is no list, and leaves its fields in the table nonetheless', () => {
    const decoder = new HeaderDecoder(300);
    const field = literal(['long', 'x'.repeat(150)], 0x40);
    expect(decode(decoder, Buffer.concat([field, Buffer.alloc(10_000, 0xbe)]))).toBeUndefined();
    expect(decode(decoder, 'be')).toHaveLength(1);
    // 32 and the text, for each.
    expect(decode(decoder, Buffer.concat([literal(['a', 'b'.repeat(267)])]))).toHaveLength(1);
    expect(decode(decoder, Buffer.concat([literal(['a', 'b'.repeat(268)])]))).toBeUndefined();
  });

  it('may have a field that is larger than the table: then the table is empty', () => {
    const decoder = new HeaderDecoder(10_000);
    decode(decoder, literal(['a', '1'], 0x40));
    expect(decode(decoder, literal(['b', 'x'.repeat(4_100)], 0x40))).toHaveLength(1);
    expect(() => decode(decoder, 'be')).toThrow(ConnectionError);
  });

  it('remembers 4,096 bytes of fields, however many go through', () => {
    const decoder = new HeaderDecoder(LIMIT);
    for (let i = 0; i < 1_000; i++) decode(decoder, literal([`${i}`.padStart(3, '0'), ''], 0x40));
    // 35 bytes each.
    expect(decode(decoder, integer(0x80, 7, 62 + 116))).toEqual(['883: ']);
    expect(() => decode(decoder, integer(0x80, 7, 62 + 117))).toThrow(ConnectionError);
  });

  it.each([
    ['index 0', '80'],
    ['an index that is not there', 'be'],
    ['a name that is not there', '7f00 0161'],
    ['a number that does not end', 'ff'],
    ['a number without bounds', 'ffffffffffffffff0f'],
    ['a text that is longer than the block', '0001 6105 62'],
    ['a text without a length', '00'],
    ['a wrong Huffman code', '0082 ffff 0161'],
    ['a table that is larger than ours', '3fe2 1f'],
    ['a table size behind a field', '8220'],
  ])('with %s ends the connection', (_name, hex) => {
    expect(() => decode(new HeaderDecoder(LIMIT), hex)).toThrow(expect.objectContaining({ code: 9 }));
  });

  it('may change the size of the table twice in front', () => {
    expect(decode(new HeaderDecoder(LIMIT), '203fe11f82')).toEqual([':method: GET']);
  });

  it('of any bytes is decoded, or ends the connection', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 80 }), { maxLength: 5 }), (blocks) => {
        const decoder = new HeaderDecoder(500);
        try {
          for (const bytes of blocks) decoder.decode(Buffer.from(bytes), 0, bytes.length);
        } catch (error) {
          expect(error).toBeInstanceOf(ConnectionError);
        }
      }),
      { numRuns: 5_000 },
    );
  });

  it('of any fields, in any of the ways to write them, gives these fields', () => {
    const text = fc.string({ unit: fc.integer({ min: 33, max: 90 }).map((code) => String.fromCharCode(code)) });
    const field = fc.record({
      pair: fc.tuple(text, text),
      first: fc.constantFrom(0, 0x10, 0x40),
      coded: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(fc.array(field, { maxLength: 8 }), { maxLength: 8 }), (blocks) => {
        const decoder = new HeaderDecoder(100_000);
        for (const fields of blocks) {
          const block = Buffer.concat(fields.map(({ pair, first, coded }) => literal(pair, first, coded)));
          expect(decode(decoder, block)).toEqual(fields.map(({ pair }) => pair.join(': ')));
        }
      }),
    );
  });
});

describe('an encoded block', () => {
  it('is decoded to what it was, by a table that it leaves alone', () => {
    const headers: [string, string][] = [
      [':status', '200'],
      [':status', '405'],
      ['content-type', 'application/grpc'],
      ['grpc-message', 'x'.repeat(400)],
    ];
    const decoder = new HeaderDecoder(LIMIT);
    expect(decode(decoder, encodeHeaders(headers))).toEqual(headers.map((pair) => pair.join(': ')));
    expect(() => decode(decoder, 'be')).toThrow(ConnectionError);
    expect(encodeHeaders([[':status', '200']])).toEqual(Buffer.of(0x88));
  });
});
