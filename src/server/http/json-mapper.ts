/**
 * Messages as the gateway's JSON, both ways: protobuf's JSON mapping, with the names of the .proto files going out.
 *
 * It goes by the descriptor and makes the very objects that the codecs take and give, so nothing has to pass through
 * another library's messages, which know no `bigint` and none of etcd's names. The 2,500 lines of descriptor make it
 * worth loading late: import this file when the first request comes.
 *
 * In: either spelling of a name, enums by name or number, 64-bit numbers as strings or numbers, unknown fields and
 * unknown names of enums are passed over. Out: 64-bit numbers as strings, bytes in base64, enums by name, what is
 * unset or a default left out.
 *
 * Source: https://protobuf.dev/programming-guides/json/; the rest is what etcd 3.5 answers.
 *
 * @module
 */
import { descriptor } from '../../protocol/generated/descriptor.ts';
import { GrpcCode } from '../../protocol/status.ts';
import { refuse } from '../rpc/failure.ts';

/** JSON, as `JSON.parse` gives it. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };

interface Node {
  readonly nested?: Readonly<Record<string, Node>>;
  readonly fields?: Readonly<Record<string, { readonly type: string; readonly id: number; readonly rule?: string }>>;
  readonly oneofs?: Readonly<Record<string, { readonly oneof: readonly string[] }>>;
  readonly values?: Readonly<Record<string, number>>;
}

interface Field {
  /** As messages in memory have it, which is its JSON name. */
  readonly name: string;
  /** As the .proto file has it. */
  readonly protoName: string;
  readonly repeated: boolean;
  /** Whether presence counts, not the value. */
  readonly explicit: boolean;
  readonly type: ScalarType | MessageType | EnumType;
}

type ScalarType = 'int64' | 'uint64' | 'int32' | 'uint32' | 'bool' | 'string' | 'bytes' | 'double' | 'float';

interface EnumType {
  readonly numbers: ReadonlyMap<string, number>;
  readonly names: ReadonlyMap<number, string>;
}

interface MessageType {
  readonly fields: readonly Field[];
  readonly byName: ReadonlyMap<string, Field>;
}

/** Fields whose names in the .proto files are not in snake case. */
const OWN_NAMES: Readonly<Record<string, string>> = Object.fromEntries(
  (
    'ID TTL grantedTTL peerURLs clientURLs isLearner targetID memberID dbSize raftIndex raftAppliedIndex dbSizeInUse ' +
    'storageVersion dbSizeQuota downgradeInfo targetVersion hashedPassword authRevision permType keyPermission'
  )
    .split(' ')
    .map((name) => [name, name] as const)
    .concat([['remainingTTL', 'remaining_TTL']]),
);

/** Nesting that is read. Nested transactions are what needs some. */
const MAX_DEPTH = 64;

const cache = new Map<string, MessageType | EnumType>();

/** Reads a message from JSON. @throws RpcError INVALID_ARGUMENT, with the name of the field that is wrong and no content. */
export function fromJson(typeName: string, json: Json): Record<string, unknown> {
  return readMessage(messageType(typeName), json ?? {}, typeName, 0);
}

/** The JSON of a message, or of part of one. */
export function toJson(typeName: string, message: object): Record<string, unknown> {
  return writeMessage(messageType(typeName), message as Record<string, unknown>);
}

function readMessage(type: MessageType, json: Json, what: string, depth: number): Record<string, unknown> {
  if (typeof json !== 'object' || json === null || Array.isArray(json) || depth > MAX_DEPTH)
    throw invalid('message', what);
  const message: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(json)) {
    const field = type.byName.get(name);
    if (field === undefined || value === null) continue;
    message[field.name] = field.repeated ? readList(field, value, depth) : readValue(field, value, depth);
  }
  return message;
}

function readList(field: Field, json: Json, depth: number): unknown[] {
  if (!Array.isArray(json)) throw invalid('repeated', field.protoName);
  return json.map((each: Json) => readValue(field, each, depth));
}

function readValue({ type, protoName }: Field, json: Json, depth: number): unknown {
  if (typeof type === 'object') {
    return 'fields' in type ? readMessage(type, json, protoName, depth + 1) : readEnum(type, json, protoName);
  }
  switch (type) {
    case 'int64':
    case 'uint64':
      return readInt64(type, json, protoName);
    case 'bool':
      if (typeof json !== 'boolean') throw invalid(type, protoName);
      return json;
    case 'string':
      if (typeof json !== 'string') throw invalid(type, protoName);
      return json;
    case 'bytes':
      return readBytes(json, protoName);
    case 'int32':
    case 'uint32':
    case 'double':
    case 'float':
      return readNumber(type, json, protoName);
  }
}

function readEnum(type: EnumType, json: Json, name: string): number {
  if (typeof json === 'string') return type.numbers.get(json) ?? 0;
  return readNumber('int32', json, name);
}

/** A number that JavaScript has rounded already is refused rather than taken for another. */
function readInt64(type: 'int64' | 'uint64', json: Json, name: string): bigint {
  const plain =
    typeof json === 'string' ? /^-?\d{1,20}$/.test(json) : typeof json === 'number' && Number.isSafeInteger(json);
  if (!plain) throw invalid(type, name);
  const value = BigInt(json as string | number);
  if ((type === 'int64' ? BigInt.asIntN(64, value) : BigInt.asUintN(64, value)) !== value) throw invalid(type, name);
  return value;
}

function readNumber(type: 'int32' | 'uint32' | 'double' | 'float', json: Json, name: string): number {
  const value = typeof json === 'string' && json.trim() !== '' ? Number(json) : json;
  if (typeof value !== 'number' || Number.isNaN(value)) throw invalid(type, name);
  if (type === 'int32' && (value | 0) !== value) throw invalid(type, name);
  if (type === 'uint32' && value >>> 0 !== value) throw invalid(type, name);
  return value;
}

/** Both alphabets of base64, padded or not. */
function readBytes(json: Json, name: string): Uint8Array {
  if (typeof json !== 'string' || !/^[A-Za-z0-9+/_-]*={0,2}$/.test(json)) throw invalid('bytes', name);
  const bare = json.replace(/=+$/, '');
  if (bare.length % 4 === 1) throw invalid('bytes', name);
  return Buffer.from(bare, 'base64');
}

function invalid(type: string, field: string): Error {
  return refuse(GrpcCode.INVALID_ARGUMENT, `invalid value for ${type} field ${field}`);
}

function writeMessage(type: MessageType, message: Record<string, unknown>): Record<string, unknown> {
  const json: Record<string, unknown> = {};
  for (const field of type.fields) {
    const value = message[field.name];
    if (value === undefined || (!field.explicit && isDefault(field, value))) continue;
    json[field.protoName] = field.repeated
      ? (value as readonly unknown[]).map((each) => writeValue(field, each))
      : writeValue(field, value);
  }
  return json;
}

function isDefault({ repeated, type }: Field, value: unknown): boolean {
  if (repeated) return (value as readonly unknown[]).length === 0;
  if (typeof type === 'object') return !('fields' in type) && value === 0;
  if (type === 'bytes') return (value as Uint8Array).length === 0;
  return value === 0n || value === 0 || value === false || value === '';
}

function writeValue({ type }: Field, value: unknown): unknown {
  if (typeof type === 'object') {
    if ('fields' in type) return writeMessage(type, value as Record<string, unknown>);
    return type.names.get(value as number) ?? value;
  }
  if (type === 'bytes') {
    const { buffer, byteOffset, byteLength } = value as Uint8Array;
    return Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength).toString('base64');
  }
  return type === 'int64' || type === 'uint64' ? String(value) : value;
}

/** A message's type by its full name. Types are made when first met: most of the contract is never asked for by JSON. */
function messageType(fullName: string): MessageType {
  const type = resolve(fullName.split('.'), []);
  if (type === undefined || !('fields' in type)) throw new TypeError(`no message ${fullName}`);
  return type;
}

/** Finds `name` as seen from inside `scope`: there first, then further and further out. */
function resolve(name: readonly string[], scope: readonly string[]): MessageType | EnumType | undefined {
  for (let depth = scope.length; depth >= 0; depth--) {
    const path = [...scope.slice(0, depth), ...name];
    const key = path.join('.');
    const known = cache.get(key);
    if (known !== undefined) return known;
    const node = find(path);
    if (node?.values !== undefined) return remember(key, enumType(node.values));
    if (node?.fields !== undefined) return buildMessage(key, path, node);
  }
  return undefined;
}

function find(path: readonly string[]): Node | undefined {
  return path.reduce<Node | undefined>((node, part) => node?.nested?.[part], descriptor as Node);
}

function remember<T extends MessageType | EnumType>(key: string, type: T): T {
  cache.set(key, type);
  return type;
}

function enumType(values: Readonly<Record<string, number>>): EnumType {
  const entries = Object.entries(values);
  return { numbers: new Map(entries), names: new Map(entries.map(([name, value]) => [value, name])) };
}

function buildMessage(key: string, path: readonly string[], node: Node): MessageType {
  const fields: Field[] = [];
  const byName = new Map<string, Field>();
  // Known before its fields are: a transaction may hold transactions.
  const type = remember(key, { fields, byName });
  const inOneof = new Set(Object.values(node.oneofs ?? {}).flatMap(({ oneof }) => oneof));
  for (const [name, { type: of, rule }] of Object.entries(node.fields ?? {})) {
    const fieldType = resolve(of.split('.'), path) ?? (of as ScalarType);
    const repeated = rule === 'repeated';
    const field = { name, protoName: protoName(key, name), repeated, explicit: inOneof.has(name), type: fieldType };
    fields.push(field);
    byName.set(name, field).set(field.protoName, field);
  }
  return type;
}

/** The name in the .proto file. */
function protoName(message: string, name: string): string {
  // The one name that one message spells so and another in snake case.
  if (name === 'raftTerm' && message === 'etcdserverpb.StatusResponse') return name;
  return OWN_NAMES[name] ?? name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
