/**
 * What the generator knows about the contract: protobufjs's reflection, boiled down to what the emitters need.
 *
 * Anything the emitters could not handle is refused here, loudly, rather than generated wrongly.
 */
import protobuf from 'protobufjs';

/** A scalar the generated code can carry. */
export type Scalar = 'int64' | 'uint64' | 'int32' | 'uint32' | 'bool' | 'string' | 'bytes';

/** What a field holds. */
export type FieldType =
  | { readonly kind: 'scalar'; readonly scalar: Scalar }
  | { readonly kind: 'enum'; readonly type: TypeName }
  | { readonly kind: 'message'; readonly type: TypeName };

/** A message or enum: where it lives and what it is called in TypeScript. */
export interface TypeName {
  /** Full protobuf name, such as `etcdserverpb.RangeRequest.SortOrder`. */
  readonly full: string;
  readonly package: string;
  readonly ts: string;
}

export interface Field {
  readonly name: string;
  readonly id: number;
  readonly type: FieldType;
  readonly repeated: boolean;
  /** Names of the other members of its oneof; `undefined` outside of one. */
  readonly rivals: readonly string[] | undefined;
  readonly comment: string | undefined;
}

export interface Message {
  readonly name: TypeName;
  /** In ascending order of their numbers. */
  readonly fields: readonly Field[];
  /** It can contain itself, so that its depth has to be limited. */
  readonly recursive: boolean;
  readonly comment: string | undefined;
}

export interface Enum {
  readonly name: TypeName;
  readonly values: readonly { readonly name: string; readonly id: number; readonly comment: string | undefined }[];
  readonly comment: string | undefined;
}

export interface Method {
  /** Name in lower camel case. */
  readonly name: string;
  readonly path: string;
  readonly kind: 'unary' | 'server-stream' | 'bidi';
  readonly request: TypeName;
  readonly response: TypeName;
  readonly comment: string | undefined;
}

export interface Service {
  readonly name: string;
  readonly methods: readonly Method[];
  readonly comment: string | undefined;
}

/** One protobuf package: one generated file. */
export interface Package {
  readonly name: string;
  /** Name of the .proto file. */
  readonly source: string;
  readonly messages: readonly Message[];
  readonly enums: readonly Enum[];
  readonly services: readonly Service[];
}

const SCALARS: ReadonlySet<string> = new Set<Scalar>(['int64', 'uint64', 'int32', 'uint32', 'bool', 'string', 'bytes']);

/** protobuf's JSON name of a field: `prev_kv` is `prevKv`, `remaining_TTL` is `remainingTTL`. */
export function jsonName(name: string): string {
  return name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
}

/** Reads the model of one package out of a fully resolved root. */
export function readPackage(root: protobuf.Root, name: string, source: string): Package {
  const types: protobuf.Type[] = [];
  const enums: protobuf.Enum[] = [];
  const services: protobuf.Service[] = [];
  const visit = (parent: protobuf.NamespaceBase): void => {
    for (const child of parent.nestedArray) {
      if (child instanceof protobuf.Type) {
        types.push(child);
        visit(child);
      } else if (child instanceof protobuf.Enum) enums.push(child);
      else if (child instanceof protobuf.Service) services.push(child);
    }
  };
  visit(root.lookup(name, [protobuf.Namespace]) as protobuf.Namespace);
  const result: Package = {
    name,
    source,
    messages: types.map(readMessage),
    enums: enums.map(readEnum),
    services: services.map(readService),
  };
  refuseDuplicates(result);
  return result;
}

function readMessage(type: protobuf.Type): Message {
  const fields = type.fieldsArray.map(readField).sort((a, b) => a.id - b.id);
  return { name: typeName(type), fields, recursive: reaches(type, type), comment: comment(type) };
}

function readField(field: protobuf.Field): Field {
  if (field.map) throw new Error(`${field.fullName}: maps are not supported`);
  const rivals = field.partOf?.oneof.filter((other) => other !== field.name).map(jsonName);
  return {
    name: jsonName(field.name),
    id: field.id,
    type: fieldType(field),
    repeated: field.repeated,
    rivals,
    comment: comment(field),
  };
}

function fieldType(field: protobuf.Field): FieldType {
  if (field.resolvedType instanceof protobuf.Enum) return { kind: 'enum', type: typeName(field.resolvedType) };
  if (field.resolvedType) return { kind: 'message', type: typeName(field.resolvedType) };
  if (!SCALARS.has(field.type)) throw new Error(`${field.fullName}: type ${field.type} is not supported`);
  return { kind: 'scalar', scalar: field.type as Scalar };
}

function readEnum(type: protobuf.Enum): Enum {
  const values = Object.entries(type.values).map(([name, id]) => ({
    name,
    id,
    comment: type.comments[name] ?? undefined,
  }));
  return { name: typeName(type), values, comment: comment(type) };
}

function readService(service: protobuf.Service): Service {
  return { name: service.name, methods: service.methodsArray.map(readMethod), comment: comment(service) };
}

function readMethod(method: protobuf.Method): Method {
  method.resolve();
  if (!method.resolvedRequestType || !method.resolvedResponseType) throw new Error(`${method.fullName}: unresolved`);
  if (method.requestStream && !method.responseStream) {
    throw new Error(`${method.fullName}: client streams are not supported`);
  }
  const service = (method.parent as protobuf.Service).fullName.slice(1);
  return {
    name: method.name.charAt(0).toLowerCase() + method.name.slice(1),
    path: `/${service}/${method.name}`,
    kind: method.requestStream ? 'bidi' : method.responseStream ? 'server-stream' : 'unary',
    request: typeName(method.resolvedRequestType),
    response: typeName(method.resolvedResponseType),
    comment: comment(method),
  };
}

/** `RangeRequest.SortOrder` is `RangeRequestSortOrder`, but `Compare.CompareResult` does not say "compare" twice. */
function typeName(type: protobuf.Type | protobuf.Enum): TypeName {
  const full = type.fullName.slice(1);
  const parent = type.parent;
  if (!(parent instanceof protobuf.Type)) {
    return { full, package: (parent as protobuf.Namespace).fullName.slice(1), ts: type.name };
  }
  const outer = typeName(parent);
  const ts = type.name.startsWith(outer.ts) ? type.name : outer.ts + type.name;
  return { full, package: outer.package, ts };
}

function reaches(from: protobuf.Type, target: protobuf.Type, seen = new Set<protobuf.Type>()): boolean {
  return from.fieldsArray.some(({ resolvedType }) => {
    if (!(resolvedType instanceof protobuf.Type)) return false;
    if (resolvedType === target) return true;
    if (seen.has(resolvedType)) return false;
    seen.add(resolvedType);
    return reaches(resolvedType, target, seen);
  });
}

function comment(of: protobuf.ReflectionObject): string | undefined {
  return of.comment ?? undefined;
}

function refuseDuplicates(of: Package): void {
  const names = [...of.messages, ...of.enums].map(({ name }) => name.ts).concat(of.services.map(({ name }) => name));
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new Error(`${of.name}: two things are called ${twice}`);
}
