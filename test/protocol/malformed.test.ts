import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as pb from '../../src/protocol/generated/etcdserverpb.ts';
import { KeyValue } from '../../src/protocol/generated/mvccpb.ts';
import { type MessageCodec, WireError } from '../../src/protocol/wire.ts';
import { codecOf, messages, type Plain, types } from './reflection.ts';

/** Decodes, letting only a WireError pass as a failure. */
function decodes(codec: { decode(bytes: Uint8Array): unknown }, bytes: Uint8Array): boolean {
  try {
    codec.decode(bytes);
    return true;
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    expect(error.messageType).toBeDefined();
    return false;
  }
}

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');

function failure(codec: MessageCodec<unknown>, bytes: Uint8Array): WireError {
  try {
    codec.decode(bytes);
  } catch (error) {
    if (error instanceof WireError) return error;
    throw error;
  }
  throw new Error('decoded');
}

describe('malformed input', () => {
  it.each([
    ['a varint cut off', KeyValue, '18 ff', 'mvccpb.KeyValue.modRevision: truncated at byte 1'],
    ['no value at all', KeyValue, '18', 'mvccpb.KeyValue.modRevision: truncated at byte 1'],
    ['bytes cut off', KeyValue, '0a 05 6162', 'mvccpb.KeyValue.key: truncated at byte 2'],
    ['bytes cut off by one', KeyValue, '0a 03 6162', 'mvccpb.KeyValue.key: truncated at byte 2'],
    ['a length beyond 32 bits', KeyValue, '0a ffffffffffffffffff01 61', 'mvccpb.KeyValue.key: truncated at byte 11'],
    [
      'a varint of 11 bytes',
      KeyValue,
      '18 ffffffffffffffffffff01',
      'mvccpb.KeyValue.modRevision: varint longer than 10 bytes at byte 1',
    ],
    [
      'the same with more after it',
      KeyValue,
      '18 ffffffffffffffffffff01 00000000',
      'mvccpb.KeyValue.modRevision: varint longer than 10 bytes at byte 1',
    ],
    ['a foreign wire type', KeyValue, '08 01', 'mvccpb.KeyValue.key: wire type 0 is wrong here at byte 1'],
    ['no such wire type', KeyValue, 'ff 01', 'mvccpb.KeyValue.31: no such wire type: 7 at byte 2'],
    ['field number 0', KeyValue, '00 01', 'mvccpb.KeyValue: field number 0 at byte 1'],
    ['field number 0 with a length', KeyValue, '02 00', 'mvccpb.KeyValue.0: field number 0 at byte 1'],
    ['a field number too large', KeyValue, '8080808080 01 00', 'mvccpb.KeyValue: field number too large at byte 6'],
    ['a group that never ends', KeyValue, 'fb01 0801', 'mvccpb.KeyValue.31: truncated at byte 4'],
    [
      'the end of another group',
      KeyValue,
      'fb01 f401',
      'mvccpb.KeyValue.31: end of a group that was never begun at byte 4',
    ],
    ['an unknown fixed64 cut off', KeyValue, 'f901 01', 'mvccpb.KeyValue.31: truncated at byte 2'],
    ['an unknown varint cut off', KeyValue, 'f801', 'mvccpb.KeyValue.31: truncated at byte 2'],
    [
      'a nested message that is too long',
      pb.PutResponse,
      '0a 05 0801',
      'etcdserverpb.PutResponse.header: truncated at byte 2',
    ],
    [
      'a field past the end of its message',
      pb.RangeResponse,
      '12 03 0a 05 6162636465',
      'mvccpb.KeyValue.key: a field runs past the end of its message at byte 9',
    ],
    [
      'a packed value past its list',
      pb.WatchCreateRequest,
      '2a 01 8001',
      'etcdserverpb.WatchCreateRequest.filters: a field runs past the end of its message at byte 4',
    ],
  ] as const)('%s', (_, codec, bytes, message) => {
    expect(failure(codec as MessageCodec<unknown>, hex(bytes)).message).toBe(message);
  });

  it('gives message, field and offset as values too', () => {
    expect(failure(KeyValue, hex('1001 18 ff'))).toMatchObject({
      name: 'WireError',
      reason: 'truncated',
      messageType: 'mvccpb.KeyValue',
      field: 'modRevision',
      offset: 3,
    });
  });

  it('limits the depth of groups', () => {
    const groups = (depth: number): Buffer => hex('fb01'.repeat(depth) + 'fc01'.repeat(depth));
    expect(decodes(KeyValue, groups(100))).toBe(true);
    expect(failure(KeyValue, groups(101)).reason).toBe('nested too deeply');
    expect(failure(KeyValue, hex('fb01'.repeat(100_000))).reason).toBe('nested too deeply');
  });

  it('limits the depth of transactions', () => {
    const nested = (depth: number): Buffer => {
      let bytes = pb.TxnRequest.encode({});
      for (let i = 0; i < depth; i++) {
        // TxnRequest.success { RequestOp.request_txn { … } }
        const inner = Buffer.concat([Buffer.from([0x22]), varint(bytes.length), bytes]);
        bytes = Buffer.concat([Buffer.from([0x12]), varint(inner.length), inner]);
      }
      return bytes;
    };
    expect(decodes(pb.TxnRequest, nested(49))).toBe(true);
    expect(failure(pb.TxnRequest, nested(50)).reason).toBe('nested too deeply');
    expect(failure(pb.TxnRequest, nested(5_000)).reason).toBe('nested too deeply');
    // Breadth is no depth.
    expect(decodes(pb.TxnRequest, hex('1202 2200'.repeat(1000)))).toBe(true);
  });
});

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest >>>= 7) bytes.push((rest & 127) | 128);
  return Buffer.from([...bytes, rest]);
}

describe('any input', () => {
  const all = types.map((type) => [type.fullName.slice(1), type] as const);

  it.each(all)('%s, cut off anywhere', (_, type) => {
    const codec = codecOf(type);
    fc.assert(
      fc.property(messages(type), (message: Plain) => {
        const bytes = codec.encode(message);
        for (let length = 0; length < bytes.length; length++) decodes(codec, bytes.subarray(0, length));
      }),
      { numRuns: 5 },
    );
  });

  it.each(all)('%s, random or with a byte changed', (_, type) => {
    const codec = codecOf(type);
    fc.assert(
      fc.property(
        messages(type),
        fc.uint8Array({ maxLength: 60 }),
        fc.nat(),
        fc.nat({ max: 255 }),
        (message, noise, at, byte) => {
          decodes(codec, noise);
          const bytes = codec.encode(message);
          if (bytes.length > 0) bytes[at % bytes.length] = byte;
          // What decodes, however odd, must encode.
          if (decodes(codec, bytes)) codec.encode(codec.decode(bytes));
        },
      ),
      { numRuns: 30 },
    );
  });
});
