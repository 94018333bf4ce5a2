/**
 * What a request says before its body, and whether it may say so.
 *
 * `:authority` is taken as it is: Go clients of etcd 3.4 and older send a whole URL there, and etcd minds as little.
 *
 * Source: RFC 9113, sections 8.2.2, 8.3.1 and 8.5.
 *
 * @module
 */
import type { Field } from './hpack/field.ts';

/** Fields about a connection, which HTTP/2 says otherwise. */
const FORBIDDEN: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
]);

/** The head of a request. Names are lower case. */
export class RequestHead {
  readonly method: string;
  /** With the query. */
  readonly path: string;
  readonly authority: string | undefined;
  /** Bytes of the body, if it says so. */
  readonly contentLength: number | undefined;
  /** All but those whose names begin with a colon, in their order. */
  readonly fields: readonly Field[];

  constructor(pseudo: ReadonlyMap<string, string>, fields: readonly Field[], contentLength: number | undefined) {
    this.method = pseudo.get(':method') ?? '';
    this.path = pseudo.get(':path') ?? '';
    this.authority = pseudo.get(':authority');
    this.contentLength = contentLength;
    this.fields = fields;
  }

  /** First value of a name. */
  get(name: string): string | undefined {
    for (const field of this.fields) if (field.name === name) return field.value;
    return undefined;
  }
}

/** What fields say as the head of a request; undefined if they may not be one. */
export function readHead(fields: readonly Field[]): RequestHead | undefined {
  const pseudo = new Map<string, string>();
  let at = 0;
  for (; fields[at]?.name.startsWith(':'); at += 1) {
    const { name, value, isValid } = fields[at] as Field;
    if (!isValid || !isPseudo(name) || pseudo.has(name)) return undefined;
    pseudo.set(name, value);
  }
  const others = fields.slice(at);
  if (!areRegular(others) || !isComplete(pseudo)) return undefined;
  const lengths = others.filter(({ name }) => name === 'content-length').map(({ value }) => value);
  const [length] = lengths;
  if (length === undefined) return new RequestHead(pseudo, others, undefined);
  if (!/^\d{1,15}$/.test(length) || lengths.some((other) => other !== length)) return undefined;
  return new RequestHead(pseudo, others, Number(length));
}

/** Whether fields may stand in a head behind those with a colon, or in trailers. */
export function areRegular(fields: readonly Field[]): boolean {
  return fields.every(
    ({ name, value, isValid }) =>
      isValid && !name.startsWith(':') && !FORBIDDEN.has(name) && (name !== 'te' || value === 'trailers'),
  );
}

function isPseudo(name: string): boolean {
  return name === ':method' || name === ':scheme' || name === ':path' || name === ':authority';
}

function isComplete(pseudo: ReadonlyMap<string, string>): boolean {
  if (pseudo.get(':method') === 'CONNECT') return !pseudo.has(':path') && !pseudo.has(':scheme');
  return pseudo.has(':method') && pseudo.has(':scheme') && (pseudo.get(':path') ?? '') !== '';
}
