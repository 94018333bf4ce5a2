/** Interfaces, enums and services. */
import type { Enum, Field, FieldType, Message, Method, Scalar, Service } from './model.ts';
import { doc } from './text.ts';

const SCALAR_TYPES: Readonly<Record<Scalar, string>> = {
  int64: 'bigint',
  uint64: 'bigint',
  int32: 'number',
  uint32: 'number',
  bool: 'boolean',
  string: 'string',
  bytes: 'Uint8Array',
};

/** The TypeScript type of one value of a field. */
export function valueType(type: FieldType): string {
  return type.kind === 'scalar' ? SCALAR_TYPES[type.scalar] : type.type.ts;
}

function fieldTypeText(field: Field): string {
  const type = valueType(field.type);
  if (field.repeated) return `${type}[]`;
  return field.type.kind === 'message' || field.rivals ? `${type} | undefined` : type;
}

/** A message as it comes out of decoding. */
export function emitInterface({ name, fields, comment }: Message): string {
  const head = doc(comment ?? `\`${name.full}\`.`);
  if (fields.length === 0) {
    return `${head}export type ${name.ts} = Record<string, never>;\n`;
  }
  const members = fields.map((field) => {
    const text = field.comment === undefined ? '' : doc(field.comment, '  ');
    return `${text}  ${field.name}: ${fieldTypeText(field)};\n`;
  });
  return `${head}export interface ${name.ts} {\n${members.join('')}}\n`;
}

/** An enum: a frozen table of numbers, and the union of them under the same name. */
export function emitEnum({ name, values, comment }: Enum): string {
  const members = values.map(({ name: value, id, comment: text }) => {
    return `${text === undefined ? '' : doc(text, '  ')}  ${value}: ${id},\n`;
  });
  return (
    `${doc(comment ?? `\`${name.full}\`.`)}export const ${name.ts} = {\n${members.join('')}} as const;\n` +
    `export type ${name.ts} = (typeof ${name.ts})[keyof typeof ${name.ts}];\n`
  );
}

/** A service: its methods by name. */
export function emitService({ name, methods, comment }: Service): string {
  const head = comment === undefined ? '' : doc(comment);
  return `${head}export const ${name} = {\n${methods.map(emitMethod).join('')}} as const satisfies ServiceDescriptor;\n`;
}

function emitMethod({ name, path, kind, request, response, comment }: Method): string {
  return (
    (comment === undefined ? '' : doc(comment, '  ')) +
    `  ${name}: method('${path}', '${kind}', ${request.ts}, ${response.ts}),\n`
  );
}
