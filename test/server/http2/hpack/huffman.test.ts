import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CODE_LENGTHS, codes, decodeHuffman } from '../../../../src/server/http2/hpack/huffman.ts';
import { huffman } from '../wire.ts';

function decode(bytes: Uint8Array): string | undefined {
  return decodeHuffman(bytes, 0, bytes.length);
}

describe('the code', () => {
  it('has a code for each byte and the end of the text, and uses all of the room', () => {
    expect(CODE_LENGTHS).toHaveLength(257);
    expect(CODE_LENGTHS.reduce((sum, length) => sum + 2 ** -length, 0)).toBe(1);
  });

  // RFC 7541, appendix B.
  it.each([
    [48, 0x0],
    [97, 0x3],
    [32, 0x14],
    [58, 0x5c],
    [0, 0x1ff8],
    [10, 0x3ffffffc],
    [92, 0x7fff0],
    [195, 0x7fff1],
    [128, 0xfffe6],
    [249, 0xffffffe],
    [255, 0x3ffffee],
    [256, 0x3fffffff],
  ])('of %i is that of the table', (symbol, code) => {
    expect(codes()[symbol]).toBe(code);
  });
});

describe('a text', () => {
  // RFC 7541, appendices C.4 and C.6.
  it.each([
    ['f1e3c2e5f23a6ba0ab90f4ff', 'www.example.com'],
    ['a8eb10649cbf', 'no-cache'],
    ['25a849e95ba97d7f', 'custom-key'],
    ['6402', '302'],
    ['d07abe941054d444a8200595040b8166e082a62d1bff', 'Mon, 21 Oct 2013 20:13:21 GMT'],
  ])('%s is %s', (hex, text) => {
    expect(decode(Buffer.from(hex, 'hex'))).toBe(text);
  });

  it('of any bytes comes back', () => {
    const latin1 = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes).toString('latin1'));
    fc.assert(
      fc.property(latin1, (text) => {
        expect(decode(huffman(text))).toBe(text);
      }),
    );
  });

  it('may be a part of something', () => {
    const bytes = Buffer.concat([Buffer.of(0xff, 0), huffman('hello'), Buffer.of(0)]);
    expect(decodeHuffman(bytes, 2, bytes.length - 1)).toBe('hello');
  });

  it.each([
    ['a padding of a byte', Buffer.concat([huffman('www.example.com'), Buffer.of(0xff)])],
    ['a padding that is not of ones', Buffer.of(0x00)],
    ['half of a code', Buffer.of(0xff, 0xc0)],
    ['the end of the text', Buffer.of(0xff, 0xff, 0xff, 0xff)],
    ['the end of the text, and more', Buffer.of(0xff, 0xff, 0xff, 0xfc, 0x07)],
  ])('has not %s', (_name, bytes) => {
    expect(decode(bytes)).toBeUndefined();
  });

  it('is decoded or refused, whatever the bytes are, and has no other code', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        const text = decode(bytes);
        if (text !== undefined) expect(huffman(text).equals(bytes)).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });
});
