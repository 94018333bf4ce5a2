import { describe, expect, it } from 'vitest';
import * as pb from '../../src/protocol/generated/etcdserverpb.ts';
import { HealthCheckResponse } from '../../src/protocol/generated/grpc_health_v1.ts';
import { Event } from '../../src/protocol/generated/mvccpb.ts';
import { type Init, type MessageCodec, WireError } from '../../src/protocol/wire.ts';

const ascii = (text: string): Uint8Array => Uint8Array.from(text, (letter) => letter.charCodeAt(0));

/** Worked out by hand from the encoding rules, tag by tag. */
function golden<T>(codec: MessageCodec<T>, message: Init<T>, hex: string): void {
  const bytes = hex.replaceAll(' ', '');
  expect(codec.encode(message).toString('hex')).toBe(bytes);
  expect(codec.decode(Buffer.from(bytes, 'hex'))).toMatchObject(message as object);
}

describe('golden bytes', () => {
  it('a put', () => {
    golden(
      pb.PutRequest,
      { key: ascii('foo'), value: ascii('bar'), lease: 300n, prevKv: true },
      '0a03666f6f 1203626172 18ac02 2001',
    );
  });

  it('negative numbers take ten bytes', () => {
    golden(pb.WatchResponse, { watchId: -1n }, '10 ffffffffffffffffff01');
    golden(pb.LeaseKeepAliveRequest, { ID: -(2n ** 63n) }, '08 80808080808080808001');
    golden(Event, { type: -1 as 0 }, '08 ffffffffffffffffff01');
  });

  it('the largest numbers', () => {
    golden(pb.LeaseKeepAliveRequest, { ID: 2n ** 63n - 1n }, '08 ffffffffffffffff7f');
    golden(
      pb.ResponseHeader,
      { clusterId: 2n ** 64n - 1n, raftTerm: 2n ** 53n + 1n },
      '08 ffffffffffffffffff01 20 8180808080808010',
    );
    golden(pb.HashKVResponse, { hash: 0xffff_ffff, hashRevision: 5n }, '10 ffffffff0f 20 05');
  });

  it('a compare: defaults inside a oneof are written, the far field has a two-byte tag', () => {
    golden(pb.Compare, { key: ascii('k'), version: 0n, rangeEnd: ascii('l') }, '1a016b 2000 8204016c');
  });

  it('a transaction with an empty operation', () => {
    golden(pb.TxnRequest, { success: [{ requestTxn: {} }, {}] }, '12022200 1200');
  });

  it('a packed list, and the same unpacked', () => {
    const filters = [pb.WatchCreateRequestFilterType.NODELETE, pb.WatchCreateRequestFilterType.NOPUT];
    golden(pb.WatchCreateRequest, { filters }, '2a020100');
    expect(pb.WatchCreateRequest.decode(Buffer.from('28012800', 'hex')).filters).toEqual(filters);
    expect(pb.WatchCreateRequest.decode(Buffer.from('28012a0100', 'hex')).filters).toEqual(filters);
  });

  it('text beyond ASCII', () => {
    golden(pb.AuthRoleAddRequest, { name: 'é' }, '0a02c3a9');
    golden(pb.AuthRoleAddRequest, { name: 'é😀' }, '0a06c3a9f09f9880');
  });

  it('enums of other packages and services', () => {
    golden(HealthCheckResponse, { status: 1 }, '0801');
    golden(Event, { type: 1, kv: { key: ascii('k'), modRevision: 7n } }, '0801 1205 0a016b1807');
  });
});

describe('varints at every length', () => {
  /** The plain loop of the specification. */
  function varint(value: bigint): string {
    const bytes: number[] = [];
    let rest = BigInt.asUintN(64, value);
    for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
    return Buffer.from([...bytes, Number(rest)]).toString('hex');
  }
  const bits = Array.from({ length: 63 }, (_, bit) => bit + 1);

  it.each(bits)('around 2^%i', (bit) => {
    for (const value of [2n ** BigInt(bit) - 1n, 2n ** BigInt(bit), 2n ** BigInt(bit) + 1n]) {
      golden(pb.ResponseHeader, { clusterId: value }, `08${varint(value)}`);
      if (bit < 63) golden(pb.LeaseGrantRequest, { TTL: value, ID: -value }, `08${varint(value)}10${varint(-value)}`);
      if (bit < 32) golden(pb.HashResponse, { hash: Number(value) }, `10${varint(value)}`);
      if (bit < 31) golden(Event, { type: -Number(value) as 0 }, `08${varint(-value)}`);
    }
  });
});

describe('decoding rules', () => {
  const decode = <T>(codec: MessageCodec<T>, hex: string): T =>
    codec.decode(Buffer.from(hex.replaceAll(' ', ''), 'hex'));

  it('takes the last of several scalars', () => {
    expect(decode(pb.LeaseGrantRequest, '0801 0802').TTL).toBe(2n);
  });

  it('merges several occurrences of one nested message', () => {
    const { header } = decode(pb.PutResponse, '0a020801 0a021803 0a020805');
    expect(header).toEqual({ clusterId: 5n, memberId: 0n, revision: 3n, raftTerm: 0n });
  });

  it('merges the same member of a oneof, and drops the others', () => {
    const both = decode(pb.RequestOp, '1203 0a016b 1203 12 01 76');
    expect(both.requestPut).toMatchObject({ key: ascii('k'), value: ascii('v') });
    const last = decode(pb.RequestOp, '1203 0a016b 0a03 0a016c');
    expect(last.requestPut).toBeUndefined();
    expect(last.requestRange?.key).toEqual(ascii('l'));
    expect(decode(pb.Compare, '2005 2807')).toMatchObject({ version: undefined, createRevision: 7n });
  });

  it('passes over unknown fields of every wire type', () => {
    const unknown = 'f80101 f9010102030405060708 fa01026162 fd0101020304 fb01 0801 0b 0c fc01';
    expect(decode(pb.LeaseGrantRequest, `${unknown} 0802 ${unknown}`).TTL).toBe(2n);
  });

  it('keeps enum values it has no name for', () => {
    expect(decode(Event, '0807').type).toBe(7);
    expect(decode(Event, '08ffffffffffffffffff01').type).toBe(-1);
  });

  it('takes varints that are longer than they need be', () => {
    expect(decode(pb.LeaseGrantRequest, '088280808080808080 8000').TTL).toBe(2n);
    expect(decode(pb.LeaseGrantRequest, '888000 02').TTL).toBe(2n);
    expect(decode(pb.LeaseTimeToLiveRequest, '10808080801 0').keys).toBe(true);
  });

  it('gives bytes as views into the input', () => {
    const input = Buffer.from('0a03666f6f', 'hex');
    const { key } = pb.PutRequest.decode(input);
    expect(key.buffer).toBe(input.buffer);
    expect(Buffer.isBuffer(key)).toBe(false);
    input[2] = 0x67;
    expect(key).toEqual(ascii('goo'));
  });

  it('reads a plain Uint8Array that begins inside its memory', () => {
    const memory = new Uint8Array([9, 9, 0x0a, 1, 0x6b, 9]);
    expect(pb.PutRequest.decode(memory.subarray(2, 5)).key).toEqual(ascii('k'));
    expect(pb.AuthRoleAddRequest.decode(memory.subarray(2, 5)).name).toBe('k');
  });
});

describe('encoding rules', () => {
  it('leaves earlier messages alone', () => {
    const sizes = [0, 1, 23, 24, 200, 65_000, 66_000, 1, 3_000_000, 5, 70_000, 8];
    const all = sizes.map((size) => pb.PutRequest.encode({ key: new Uint8Array(size).fill(size), value: ascii('v') }));
    for (const [index, size] of sizes.entries()) {
      const { key } = pb.PutRequest.decode(all[index] as Buffer);
      expect(Buffer.compare(key, new Uint8Array(size).fill(size))).toBe(0);
    }
  });

  it('grows in the middle of nested messages', () => {
    const kvs = Array.from({ length: 300 }, (_, index) => ({
      key: ascii(`key-${index}`),
      value: new Uint8Array(index * 7),
    }));
    const { kvs: decoded, count } = pb.RangeResponse.decode(pb.RangeResponse.encode({ kvs, count: 300n }));
    expect(count).toBe(300n);
    expect(decoded.map(({ key, value }) => [Buffer.from(key).toString(), value.length])).toEqual(
      kvs.map(({ key, value }) => [Buffer.from(key).toString(), value.length]),
    );
  });

  it.each([
    ['int64 too large', () => pb.LeaseGrantRequest.encode({ TTL: 2n ** 63n })],
    ['int64 too small', () => pb.LeaseGrantRequest.encode({ TTL: -(2n ** 63n) - 1n })],
    ['negative uint64', () => pb.ResponseHeader.encode({ clusterId: -1n })],
    ['uint64 too large', () => pb.ResponseHeader.encode({ clusterId: 2n ** 64n })],
    ['fraction', () => pb.HashResponse.encode({ hash: 1.5 })],
    ['not a number', () => pb.HashResponse.encode({ hash: Number.NaN })],
    ['negative uint32', () => pb.HashResponse.encode({ hash: -1 })],
    ['enum too large', () => Event.encode({ type: (2 ** 31) as 0 })],
  ])('refuses %s, and works on', (_, encode) => {
    expect(encode).toThrow(WireError);
    expect(pb.LeaseGrantRequest.encode({ TTL: 1n }).toString('hex')).toBe('0801');
  });

  it('names the field it refuses', () => {
    expect(() => pb.LeaseGrantRequest.encode({ ID: 2n ** 63n })).toThrow(
      'etcdserverpb.LeaseGrantRequest: 9223372036854775808 is no int64 (field 2)',
    );
  });

  it('replaces lone surrogates', () => {
    expect(pb.AuthRoleAddRequest.decode(pb.AuthRoleAddRequest.encode({ name: 'a\ud800b' })).name).toBe('a\ufffdb');
  });
});
