/** The contract as protobufjs sees it, and random messages made from that: the other side of the codec tests. */
import fc from 'fast-check';
import protobuf from 'protobufjs';
import * as authpb from '../../src/protocol/generated/authpb.ts';
import { descriptor } from '../../src/protocol/generated/descriptor.ts';
import * as etcdserverpb from '../../src/protocol/generated/etcdserverpb.ts';
import * as health from '../../src/protocol/generated/grpc_health_v1.ts';
import * as leasepb from '../../src/protocol/generated/leasepb.ts';
import * as membershippb from '../../src/protocol/generated/membershippb.ts';
import * as mvccpb from '../../src/protocol/generated/mvccpb.ts';
import * as raftinternalpb from '../../src/protocol/generated/raftinternalpb.ts';
import * as raftpb from '../../src/protocol/generated/raftpb.ts';
import * as snappb from '../../src/protocol/generated/snappb.ts';
import * as v3electionpb from '../../src/protocol/generated/v3electionpb.ts';
import * as v3lockpb from '../../src/protocol/generated/v3lockpb.ts';
import * as walpb from '../../src/protocol/generated/walpb.ts';

/** Any message, seen without its type. */
export type Plain = { [field: string]: unknown };

/** A codec, seen without its type. */
export interface PlainCodec {
  readonly typeName: string;
  readonly encode: (message: Plain) => Buffer;
  readonly decode: (bytes: Uint8Array) => Plain;
}

export const root = protobuf.Root.fromJSON(descriptor);
root.resolveAll();

/** Every type of the descriptor. */
export const types: readonly protobuf.Type[] = collect(root);

function collect(parent: protobuf.NamespaceBase): protobuf.Type[] {
  return parent.nestedArray.flatMap((child) => {
    if (child instanceof protobuf.Type) return [child, ...collect(child)];
    return child instanceof protobuf.Namespace && !(child instanceof protobuf.Service) ? collect(child) : [];
  });
}

const codecs = new Map<string, PlainCodec>();
const shared = [authpb, etcdserverpb, health, mvccpb, v3electionpb, v3lockpb];
const internal = [leasepb, membershippb, raftinternalpb, raftpb, snappb, walpb];
for (const file of [...shared, ...internal]) {
  for (const value of Object.values(file)) {
    if (typeof value === 'object' && 'typeName' in value) {
      const codec = value as unknown as PlainCodec;
      codecs.set(codec.typeName, codec);
    }
  }
}

/** The generated codec of a type. */
export function codecOf(type: protobuf.Type): PlainCodec {
  const codec = codecs.get(type.fullName.slice(1));
  if (codec === undefined) throw new Error(`no codec for ${type.fullName}`);
  return codec;
}

/** What protobufjs makes of the bytes. */
export function theirDecode(type: protobuf.Type, bytes: Uint8Array): Plain {
  return type.toObject(type.decode(bytes), { longs: BigInt, defaults: true });
}

/** The bytes protobufjs makes of a message. It writes defaults that are set, so the bytes may differ from ours. */
export function theirEncode(type: protobuf.Type, message: Plain): Uint8Array {
  return type.encode(type.fromObject(message)).finish();
}

/** Without absent members, and with bytes in hex: comparable whoever decoded it. */
export function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return `hex:${Buffer.from(value).toString('hex')}`;
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  const present = Object.entries(value).filter(([, member]) => member !== undefined && member !== null);
  return Object.fromEntries(present.map(([name, member]) => [name, plain(member)]));
}

const INT64 = fc.oneof(
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.bigInt({ min: -300n, max: 300n }),
  fc.constantFrom(2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n + 1n, 2n ** 32n, 2n ** 32n - 1n, 2n ** 31n, -1n),
);
const UINT64 = fc.oneof(
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  fc.bigInt({ min: 0n, max: 300n }),
  fc.constantFrom(2n ** 64n - 1n, 2n ** 63n, 2n ** 53n + 1n, 2n ** 32n, 2n ** 32n - 1n),
);

function scalar(type: string): fc.Arbitrary<unknown> {
  switch (type) {
    case 'int64':
      return INT64;
    case 'uint64':
      return UINT64;
    case 'int32':
      return fc.oneof(fc.integer(), fc.constantFrom(2 ** 31 - 1, -(2 ** 31)));
    case 'uint32':
      return fc.oneof(fc.nat({ max: 2 ** 32 - 1 }), fc.constantFrom(2 ** 32 - 1, 2 ** 31));
    case 'bool':
      return fc.boolean();
    case 'string':
      return fc.oneof(fc.string({ unit: 'binary', maxLength: 40 }), fc.string({ minLength: 60, maxLength: 200 }));
    case 'bytes':
      return fc.uint8Array({ maxLength: 200 });
    default:
      throw new Error(`no values of type ${type}`);
  }
}

function value(field: protobuf.Field, depth: number): fc.Arbitrary<unknown> {
  if (field.resolvedType instanceof protobuf.Enum) return fc.constantFrom(...Object.values(field.resolvedType.values));
  if (field.resolvedType instanceof protobuf.Type) return messages(field.resolvedType, depth + 1);
  return scalar(field.type);
}

/** Random messages of a type, nested up to a few levels. */
export function messages(type: protobuf.Type, depth = 0): fc.Arbitrary<Plain> {
  const members: Record<string, fc.Arbitrary<unknown>> = {};
  for (const field of type.fieldsArray) {
    if (field.partOf || (field.resolvedType instanceof protobuf.Type && depth >= 4)) continue;
    const one = value(field, depth);
    members[field.name] = field.repeated ? fc.array(one, { maxLength: 3 }) : one;
  }
  const unions = type.oneofsArray.map((union) => {
    const usable = union.fieldsArray.filter((field) => depth < 4 || !(field.resolvedType instanceof protobuf.Type));
    const choices = usable.map((field) => fc.record({ [field.name]: value(field, depth) }));
    return fc.oneof(fc.constant({}), ...choices);
  });
  return fc.tuple(fc.record(members, { requiredKeys: [] }), ...unions).map((parts) => Object.assign({}, ...parts));
}
