import path from 'node:path';
import protobuf from 'protobufjs';
import { describe, expect, it } from 'vitest';
import { descriptor } from '../../../src/protocol/generated/descriptor.ts';
import { GATEWAY_PATHS } from '../../../src/server/http/gateway-paths.ts';
import { fromJson, toJson } from '../../../src/server/http/json-mapper.ts';

const PROTO = path.join(import.meta.dirname, '../../../proto');
const FILES = ['rpc', 'kv', 'auth', 'v3lock', 'v3election'];

async function contract(): Promise<protobuf.Root> {
  const root = new protobuf.Root();
  root.resolvePath = (_origin, target) => path.join(PROTO, path.basename(target));
  await root.load(
    FILES.map((name) => `${name}.proto`),
    { keepCase: true },
  );
  root.resolveAll();
  return root;
}

const SAMPLES: Record<string, [json: unknown, memory: unknown]> = {
  int64: ['-5', -5n],
  uint64: ['18446744073709551615', 2n ** 64n - 1n],
  int32: [-7, -7],
  uint32: [7, 7],
  bool: [true, true],
  string: ['s', 's'],
  bytes: ['AP8=', Buffer.from([0, 255])],
};

describe('the names of fields', () => {
  it('are those of the .proto files, in every message that a method takes or gives', async () => {
    const root = await contract();
    const seen = new Set<string>();
    const check = (type: protobuf.Type): void => {
      const typeName = type.fullName.slice(1);
      if (seen.has(typeName)) return;
      seen.add(typeName);
      for (const field of type.fieldsArray) {
        if (field.resolvedType instanceof protobuf.Type) check(field.resolvedType);
        const [json, memory] = SAMPLES[field.type] ?? [field.resolvedType instanceof protobuf.Enum ? 1 : {}, undefined];
        const read = fromJson(typeName, { [field.name]: (field.repeated ? [json] : json) as never });
        expect(Object.keys(read), `${typeName}.${field.name}`).toHaveLength(1);
        expect(Object.keys(toJson(typeName, read)), `${typeName}.${field.name}`).toEqual([field.name]);
        if (memory === undefined) continue;
        expect(Object.values(read)).toEqual([field.repeated ? [memory] : memory]);
        expect(Object.values(toJson(typeName, read))).toEqual([field.repeated ? [json] : json]);
      }
    };
    for (const rpc of new Set(GATEWAY_PATHS.values())) {
      const [, service = '', name = ''] = rpc.split('/');
      const method = root.lookupService(service).methods[name] as protobuf.Method;
      method.resolve();
      check(method.resolvedRequestType as protobuf.Type);
      check(method.resolvedResponseType as protobuf.Type);
    }
    expect(seen.size).toBeGreaterThan(80);
    expect(descriptor).toBeDefined();
  });
});

describe('values', () => {
  it('are left out when they are defaults, but for members of a oneof', () => {
    expect(toJson('etcdserverpb.RangeResponse', { header: {}, kvs: [], more: false, count: 0n })).toEqual({
      header: {},
    });
    expect(toJson('etcdserverpb.Compare', { target: 0, result: 1, version: 0n })).toEqual({
      result: 'GREATER',
      version: '0',
    });
  });

  it('of enums come by name or number; a name that is none is the first', () => {
    const order = (sortOrder: unknown): unknown =>
      fromJson('etcdserverpb.RangeRequest', { sortOrder: sortOrder as never }).sortOrder;
    expect([order('DESCEND'), order(2), order('NOPE'), order(77)]).toEqual([2, 2, 0, 77]);
  });

  it('nest to a depth, and no further', () => {
    let json: Record<string, unknown> = {};
    for (let i = 0; i < 1_000; i++) json = { success: [{ request_txn: json }] };
    expect(() => fromJson('etcdserverpb.TxnRequest', json as never)).toThrow('invalid value for message');
  });
});
