/**
 * The functions that read and write one message, as straight-line code over the runtime in `src/protocol/wire/`.
 *
 * Writing goes backwards (see `Writer`), hence the reversed fields and the loops that count down.
 */
import { valueType } from './emit-types.ts';
import type { Field, FieldType, Message, Scalar } from './model.ts';
import { fieldsConst } from './text.ts';

const VARINT = 0;
const LENGTH_DELIMITED = 2;

/** `Reader`'s and `Writer`'s method for a scalar. Enums are int32s. */
function methodOf(type: FieldType): Scalar {
  if (type.kind === 'message') throw new Error(`${type.type.full} is no scalar`);
  return type.kind === 'enum' ? 'int32' : type.scalar;
}

function isPackable(type: FieldType): boolean {
  return type.kind !== 'message' && methodOf(type) !== 'string' && methodOf(type) !== 'bytes';
}

function tagOf(field: Field, wireType = isPackable(field.type) ? VARINT : LENGTH_DELIMITED): number {
  return (field.id << 3) | wireType;
}

const DEFAULTS: Readonly<Record<Scalar, string>> = {
  int64: '0n',
  uint64: '0n',
  int32: '0',
  uint32: '0',
  bool: 'false',
  string: "''",
  bytes: 'EMPTY',
};

function defaultOf(field: Field): string {
  if (field.repeated) return '[]';
  return field.type.kind === 'message' || field.rivals ? 'undefined' : DEFAULTS[methodOf(field.type)];
}

/** Everything that turns one message into bytes and back. */
export function emitCodec(message: Message): string {
  const { ts, full } = message.name;
  const names = message.fields.map(({ id, name }) => `  ${id}: '${name}',\n`).join('');
  return (
    `const ${fieldsConst(ts)}: FieldNames = {\n${names}};\n\n` +
    `${emitWrite(message)}\n${emitRead(message)}\n` +
    `/** Codec of {@link ${ts}:type}. */\n` +
    `export const ${ts}: MessageCodec<${ts}> = /* @__PURE__ */ codec('${full}', write${ts}, read${ts});\n`
  );
}

function emitWrite({ name, fields }: Message): string {
  const head = `/** @internal */\nexport function write${name.ts}(`;
  if (fields.length === 0) return `${head}_w: Writer, _m: Init<${name.ts}>): void {}\n`;
  const body = fields.toReversed().map((field) => `  ${emitWriteField(field)}\n`);
  return (
    `${head}w: Writer, m: Init<${name.ts}>): void {\n` +
    `  const { ${fields.map((field) => field.name).join(', ')} } = m;\n${body.join('')}}\n`
  );
}

function emitWriteField(field: Field): string {
  const { name, type } = field;
  if (field.repeated) {
    const loop = `for (let i = ${name}.length; i-- > 0; )`;
    const item = `${name}[i] as ${type.kind === 'message' ? `Init<${type.type.ts}>` : valueType(type)}`;
    if (!isPackable(type)) return `if (${name} !== undefined) ${loop} ${emitWriteValue(field, item)}`;
    const one = `w.packed${capital(methodOf(type))}(${item});`;
    return `if (${name} !== undefined && ${name}.length > 0) { const z = w.size(); ${loop} ${one} w.close(${tagOf(field, LENGTH_DELIMITED)}, z); }`;
  }
  const present = `${name} !== undefined`;
  return `if (${field.rivals ? present : `${present}${notDefault(field)}`}) ${emitWriteValue(field, name)}`;
}

function emitWriteValue(field: Field, value: string): string {
  const { type } = field;
  if (type.kind !== 'message') return `w.${methodOf(type)}(${tagOf(field)}, ${value});`;
  return `{ const z = w.size(); write${type.type.ts}(w, ${value}); w.close(${tagOf(field)}, z); }`;
}

/** proto3 leaves out fields that hold their default. */
function notDefault({ name, type }: Field): string {
  if (type.kind === 'message') return '';
  switch (methodOf(type)) {
    case 'bool':
      return ` && ${name}`;
    case 'bytes':
    case 'string':
      return ` && ${name}.length > 0`;
    default:
      return ` && ${name} !== ${DEFAULTS[methodOf(type)]}`;
  }
}

function emitRead({ name, fields, recursive }: Message): string {
  const { ts, full } = name;
  const shape = fields.map((field) => `${field.name}: ${defaultOf(field)}`).join(', ');
  const cases = fields.flatMap((field) => emitCases(field)).map((line) => `        ${line}\n`);
  const unknown = `r.unknown(tag, ${fieldsConst(ts)});`;
  const take =
    fields.length === 0
      ? `      ${unknown}\n`
      : `      switch (tag) {\n${cases.join('')}        default: ${unknown}\n      }\n`;
  return (
    `/** @internal */\nexport function read${ts}(r: Reader, end: number, into: ${ts} | undefined): ${ts} {\n` +
    `  const m: ${ts} = into ?? { ${shape} };\n` +
    '  let tag = 0;\n  try {\n' +
    (recursive ? '    r.enter();\n' : '') +
    `    while (r.pos < end) {\n      tag = r.tag();\n${take}    }\n    r.finish(end);\n` +
    (recursive ? '    r.leave();\n' : '') +
    `  } catch (error) {\n    throw located(error, '${full}', ${fieldsConst(ts)}, tag);\n  }\n  return m;\n}\n`
  );
}

function emitCases(field: Field): string[] {
  const { name, type } = field;
  const cast = type.kind === 'enum' ? ` as ${type.type.ts}` : '';
  const scalar = type.kind === 'message' ? '' : `r.${methodOf(type)}()${cast}`;
  if (field.repeated) {
    const one = type.kind === 'message' ? `read${type.type.ts}(r, r.stop(), undefined)` : scalar;
    const push = `case ${tagOf(field)}: m.${name}.push(${one}); break;`;
    if (!isPackable(type)) return [push];
    const packed = `{ const stop = r.stop(); while (r.pos < stop) m.${name}.push(${one}); r.finish(stop); break; }`;
    return [push, `case ${tagOf(field, LENGTH_DELIMITED)}: ${packed}`];
  }
  // A repeated occurrence of a nested message adds to the first one.
  const value = type.kind === 'message' ? `read${type.type.ts}(r, r.stop(), m.${name})` : scalar;
  const clear = field.rivals?.map((rival) => ` m.${rival} = undefined;`).join('') ?? '';
  return [`case ${tagOf(field)}: m.${name} = ${value};${clear} break;`];
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
