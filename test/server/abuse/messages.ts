/** Messages that no honest client sends: built from bytes, not from types. */
import { Dice } from '../torture/dice.ts';

/** Numbers at the edges of what fits into 64 bits, and of what their readers may take them for. */
export const EDGES: readonly bigint[] = [
  0n,
  1n,
  -1n,
  -2n,
  2n ** 31n - 1n,
  -(2n ** 31n),
  2n ** 32n,
  2n ** 53n + 1n,
  2n ** 63n - 1n,
  -(2n ** 63n),
];

/** Field numbers that are tried: no request has a higher one. */
const FIELDS = 14;

function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, value);
  do {
    const more = rest > 127n ? 128 : 0;
    bytes.push(Number(rest & 127n) | more);
    rest >>= 7n;
  } while (rest > 0n);
  return Buffer.from(bytes);
}

/** A field that is a number. */
export function numberField(field: number, value: bigint): Buffer {
  return Buffer.concat([varint(BigInt(field << 3)), varint(value)]);
}

/** A field that is text, bytes or a message. */
export function bytesField(field: number, value: Uint8Array | string): Buffer {
  const bytes = Buffer.from(value as string);
  return Buffer.concat([varint(BigInt((field << 3) | 2)), varint(BigInt(bytes.length)), bytes]);
}

/** Where a message is put into others, by the fields from the outside in. */
type Nest = readonly number[];

/** Where methods have messages in their messages. */
const NESTS: Readonly<Record<string, readonly Nest[]>> = {
  '/etcdserverpb.KV/Txn': [[1], [2], [2, 1], [2, 2], [2, 3], [3, 2], [2, 4, 2, 2]],
  '/etcdserverpb.Watch/Watch': [[1], [2], [3]],
  '/etcdserverpb.Auth/RoleGrantPermission': [[2]],
  '/v3electionpb.Election/Proclaim': [[1]],
  '/v3electionpb.Election/Resign': [[1]],
};

function nested(message: Buffer, nest: Nest): Buffer {
  return nest.toReversed().reduce((inner, field) => bytesField(field, inner), message);
}

/** Every number at every field, alone and behind a key, at every depth that the requests of a method have. */
export function* absurdNumbers(path: string): Generator<Buffer> {
  const key = bytesField(1, 'a');
  for (const nest of [[], ...(NESTS[path] ?? [])])
    for (let field = 1; field <= FIELDS; field++)
      for (const value of EDGES) {
        const number = numberField(field, value);
        yield nested(number, nest);
        yield nested(Buffer.concat([key, number]), nest);
      }
}

/** Random bytes, and random fields of every wire type, cut off anywhere. */
export function* randomMessages(seed: number, count: number): Generator<Buffer> {
  const dice = new Dice(seed);
  for (let i = 0; i < count; i++) {
    if (dice.chance(0.3)) {
      yield dice.bytes(dice.below(60));
      continue;
    }
    const fields = Array.from({ length: 1 + dice.below(6) }, () => {
      const field = 1 + dice.below(FIELDS);
      if (dice.chance(0.5)) return numberField(field, EDGES[dice.below(EDGES.length)] as bigint);
      return bytesField(field, dice.chance(0.5) ? dice.bytes(dice.below(20)) : nested(numberField(1, 1n), [1]));
    });
    const message = Buffer.concat(fields);
    yield dice.chance(0.2) ? message.subarray(0, dice.below(message.length + 1)) : message;
  }
}

/** A message within itself, so often. */
export function deep(field: number, times: number): Buffer {
  let message: Buffer = Buffer.alloc(0);
  for (let i = 0; i < times; i++) message = bytesField(field, message);
  return message;
}
