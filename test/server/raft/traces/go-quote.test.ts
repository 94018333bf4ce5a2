import { describe, expect, it } from 'vitest';
import { goQuote } from './go-quote.ts';

// What Go prints, by the rules of strconv.Quote.
describe('goQuote', () => {
  it.each([
    ['', '""'],
    ['foo bar', '"foo bar"'],
    ['"\\', '"\\"\\\\"'],
    ["'", '"\'"'],
    ['\u0007\b\f\n\r\t\v', '"\\a\\b\\f\\n\\r\\t\\v"'],
    ['\0\u001f\u007f', '"\\x00\\x1f\\x7f"'],
    ['\u0080\u00a0\u00ad', '"\\u0080\\u00a0\\u00ad"'],
    ['é∞🙂', '"é∞🙂"'],
    ['\ufffd\ufeff', '"�\\ufeff"'],
    ['\u{e0001}', '"\\U000e0001"'],
  ])('of %j', (text, quoted) => {
    expect(goQuote(new TextEncoder().encode(text))).toBe(quoted);
  });

  it.each([
    [[0x80], '"\\x80"'],
    [[0xff, 0x41], '"\\xffA"'],
    [[0xc3], '"\\xc3"'],
    [[0xc3, 0x41], '"\\xc3A"'],
    [[0xe2, 0x88], '"\\xe2\\x88"'],
    [[0xed, 0xa0, 0x80], '"\\xed\\xa0\\x80"'],
    [[0xf0, 0x9f, 0x99, 0x41], '"\\xf0\\x9f\\x99A"'],
    [[0xc0, 0x80], '"\\xc0\\x80"'],
  ])('of bytes that are no UTF-8: %j', (bytes, quoted) => {
    expect(goQuote(new Uint8Array(bytes))).toBe(quoted);
  });
});
