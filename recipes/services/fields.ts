/**
 * The fields of an instance as they stand in JSON, and the checks of each: shared by the layouts.
 *
 * Nothing that is read is quoted in a problem: it may be a secret that was put into the wrong place.
 *
 * @module
 */

import { InvalidArgumentError, json, type StandardSchema } from '../../src/index.ts';
import type { Owner } from '../names.ts';
import type { InstanceStatus, ServiceInstance } from './instance.ts';
import type { DecodedRecord, InstanceName, ServiceRecord } from './record.ts';

/** A JSON object. */
export type Fields = { readonly [name: string]: unknown };

const STATUSES: readonly unknown[] = ['up', 'down', 'draining'] satisfies InstanceStatus[];

const ANY_JSON = json();

/** Reads a JSON object, or says in words why it can't be used. */
export function readJson<M>(value: Uint8Array, read: (stored: Fields) => DecodedRecord<M>): DecodedRecord<M> {
  let stored: unknown;
  try {
    stored = ANY_JSON.decode(value);
  } catch {
    return { problem: 'the value is not JSON' };
  }
  return isObject(stored) ? read(stored) : { problem: 'the value is not a JSON object' };
}

/**
 * All fields of a record but name and id, which are the key's. What has its default is left out.
 *
 * @throws InvalidArgumentError when the metadata do not fit.
 */
export function writeFields(record: ServiceRecord<unknown>, schema: StandardSchema | undefined): Fields {
  const { instance, nonce, owner } = record;
  const { address, port, ports, protocol, tags, version, weight, zone, status, registeredAtMs } = instance;
  const metadata = fitMetadata(instance.metadata, schema, false);
  if ('problem' in metadata) throw new InvalidArgumentError(metadata.problem);
  return {
    address,
    port,
    ...(Object.keys(ports).length > 0 && { ports }),
    protocol,
    ...(tags.length > 0 && { tags }),
    version,
    ...(weight !== 1 && { weight }),
    zone,
    // As it was given: a schema that fills in defaults does so for each reader.
    metadata: instance.metadata,
    status,
    registeredAtMs,
    nonce,
    owner,
  };
}

/** Reads what {@link writeFields} has written, or somebody by hand: address and port are enough. */
export function readFields<M>(
  { name, id }: InstanceName,
  stored: Fields,
  schema: StandardSchema<M, M> | undefined,
): DecodedRecord<M> {
  const { address, port, ports = {}, protocol, tags = [], version, weight = 1, zone, status = 'up' } = stored;
  const problem =
    fieldsProblem({ address, port, ports, protocol, tags, version, weight, zone }) ??
    (STATUSES.includes(status) ? undefined : 'status is none that is known');
  if (problem !== undefined) return { problem };
  const metadata = fitMetadata(stored['metadata'], schema, true);
  if ('problem' in metadata) return metadata;
  const { registeredAtMs, nonce } = stored;
  const instance = {
    name,
    id,
    address,
    port,
    ports,
    protocol,
    tags,
    version,
    weight,
    zone,
    metadata: metadata.value,
    status,
    registeredAtMs: typeof registeredAtMs === 'number' ? registeredAtMs : 0,
  } as ServiceInstance<M>;
  return { instance, nonce: typeof nonce === 'string' ? nonce : undefined, owner: ownerOf(stored['owner']) };
}

/** What is wrong with what an instance says of itself, apart from its metadata; undefined when nothing is. */
export function fieldsProblem(fields: Fields): string | undefined {
  const { address, port, ports, protocol, tags, version, weight, zone } = fields;
  return (
    addressProblem(address) ??
    portProblem('port', port) ??
    portsProblem(ports) ??
    textProblem('protocol', protocol) ??
    tagsProblem(tags) ??
    textProblem('version', version) ??
    weightProblem(weight) ??
    textProblem('zone', zone)
  );
}

/** What is wrong with an address; undefined when nothing is. */
export function addressProblem(value: unknown): string | undefined {
  if (typeof value !== 'string' || value === '') return 'address is not a host name or an IP address';
  // What would make another URL of `http://<address>:<port>/`.
  return /[\s/?#@[\]\\]/.test(value) ? 'address holds what no host name or IP address does' : undefined;
}

/** What is wrong with a port; undefined when nothing is. */
export function portProblem(name: string, value: unknown): string | undefined {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= 65_535
    ? undefined
    : `${name} is not a whole number from 1 to 65535`;
}

/** What is wrong with further ports; undefined when nothing is. */
function portsProblem(value: unknown): string | undefined {
  if (!isObject(value)) return 'ports is not an object of numbers';
  for (const port of Object.values(value)) {
    const problem = portProblem('one of ports', port);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

/** What is wrong with tags; undefined when nothing is. */
function tagsProblem(value: unknown): string | undefined {
  return Array.isArray(value) && value.every((tag) => typeof tag === 'string')
    ? undefined
    : 'tags is not a list of texts';
}

/** What is wrong with a weight; undefined when nothing is. */
function weightProblem(value: unknown): string | undefined {
  return Number.isFinite(value) && (value as number) >= 0 ? undefined : 'weight is not a number from 0 on';
}

/** What is wrong with a text that may be missing; undefined when nothing is. */
function textProblem(name: string, value: unknown): string | undefined {
  return value === undefined || typeof value === 'string' ? undefined : `${name} is not a text`;
}

/** An object that is no list. */
export function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

type Fitted<M> = { readonly value: M } | { readonly problem: string };

/**
 * Metadata as their schema makes them; without one, texts under names. `lenient`, for reading: what is no text is shown as
 * JSON, since others may have written it.
 */
function fitMetadata<M>(value: unknown, schema: StandardSchema<M, M> | undefined, lenient: boolean): Fitted<M> {
  if (schema !== undefined) return fitSchema(value, schema);
  if (lenient) return { value: texts(value) as M };
  const fits = isObject(value) && Object.values(value).every((text) => typeof text === 'string');
  return fits ? { value: value as M } : { problem: 'metadata is not an object of texts, and has no schema' };
}

function fitSchema<M>(value: unknown, schema: StandardSchema<M, M>): Fitted<M> {
  try {
    const result = schema['~standard'].validate(value);
    if ('then' in result) {
      result.then(undefined, () => {});
      return { problem: 'the schema of the metadata answers asynchronously, which cannot be used here' };
    }
    if (result.issues === undefined) return { value: result.value };
    return { problem: `the metadata do not fit their schema: ${placesOf(result.issues)}` };
  } catch {
    // In the schema's own words, which may quote the value.
    return { problem: 'the schema of the metadata failed on them' };
  }
}

/** Where the problems are. Messages of schemas may quote the value, so only paths are told. */
function placesOf(issues: readonly { readonly path?: readonly unknown[] | undefined }[]): string {
  const places = issues.map(({ path = [] }) => {
    const names = path.map((part) => String(isObject(part) ? part['key'] : part));
    return names.length === 0 ? 'as a whole' : names.join('.');
  });
  return [...new Set(places)].slice(0, 10).join(', ');
}

function texts(value: unknown): Record<string, string> {
  if (!isObject(value)) return {};
  const entries = Object.entries(value);
  if (entries.every(([, text]) => typeof text === 'string')) return value as Record<string, string>;
  return Object.fromEntries(
    entries.map(([name, text]) => [name, typeof text === 'string' ? text : JSON.stringify(text)]),
  );
}

function ownerOf(value: unknown): Owner | undefined {
  if (!isObject(value) || typeof value['owner'] !== 'string') return undefined;
  const { owner, host, pid, since } = value;
  return {
    owner,
    host: typeof host === 'string' ? host : '',
    pid: typeof pid === 'number' ? pid : 0,
    since: typeof since === 'string' ? since : '',
  };
}
