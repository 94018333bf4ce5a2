/**
 * The layout of Go's `naming/endpoints`, so that services in Go and ours find each other.
 *
 * The key is `<target>/<id>`, nothing escaped; the value is `{"Op":0,"Addr":"host:port","Metadata":…}`. What an instance of
 * ours has besides an address stands in `Metadata`, under `etcdkit`, beside the metadata themselves; Go programs show it
 * as any other metadata.
 *
 * Readers in Go know no status: whatever has a key gets requests. So an instance that is down or draining has none; its
 * status is written just before the key is deleted, which tells ours why it goes.
 *
 * Since names are not escaped, the target `a` has the instances of a target `a/b` too, under ids that begin with `b/`. That
 * is so in Go as well.
 *
 * Source: go.etcd.io/etcd/client/v3/naming/endpoints.
 *
 * @module
 */

import { InvalidArgumentError, json, type StandardSchema } from '../../src/index.ts';
import { addressProblem, type Fields, isObject, portProblem, readFields, readJson, writeFields } from './fields.ts';
import { authorityOf, type Metadata } from './instance.ts';
import type {
  DecodedRecord,
  InstanceName,
  LayoutOptions,
  ServiceLayout,
  ServiceRecord,
  TypedLayoutOptions,
} from './record.ts';

/** Where what only we know stands in `Metadata`. */
const OURS = 'etcdkit';

/**
 * The layout of Go's `naming/endpoints`: services in Go and ours find each other. The name of a service is Go's target, and
 * an instance's key `<target>/<id>`. Readers in Go know no status, so one that is down or draining has no key. Default
 * prefix: none.
 */
export function goLayout(options?: LayoutOptions): ServiceLayout<Metadata>;
/** Go's layout, with metadata of a shape of their own. */
export function goLayout<M>(options: TypedLayoutOptions<M>): ServiceLayout<M>;
export function goLayout<M>(options: LayoutOptions & Partial<TypedLayoutOptions<M>> = {}): ServiceLayout<unknown> {
  const { prefix: root = '', metadata } = options;
  const prefixOf = (name: string): string => {
    if (typeof name !== 'string' || name === '') throw new InvalidArgumentError('the name is empty');
    return `${root}${name}/`;
  };
  const locate = (key: string, name?: string): InstanceName | undefined =>
    name === undefined ? locateByKey(key, root) : locateByName(key, prefixOf(name), name);
  return {
    root,
    carriesStatus: false,
    prefixOf,
    keyOf(name, id) {
      if (typeof id !== 'string' || id === '') throw new InvalidArgumentError('the id is empty');
      if (id.includes('/')) throw new InvalidArgumentError('an id with a slash is part of another target in Go');
      return prefixOf(name) + id;
    },
    locate,
    encode: (record) => GO_JSON.encode(toGo(record, metadata)),
    decode(key, value, name) {
      const where = locate(key, name);
      if (where === undefined) return { problem: 'the key is not that of an endpoint' };
      return readJson(value, (stored) => fromGo(where, stored, metadata));
    },
  };
}

const GO_JSON = json();

function locateByName(key: string, prefix: string, name: string): InstanceName | undefined {
  return key.startsWith(prefix) && key.length > prefix.length ? { name, id: key.slice(prefix.length) } : undefined;
}

/** As most do it: the id has no slash. */
function locateByKey(key: string, root: string): InstanceName | undefined {
  if (!key.startsWith(root)) return undefined;
  const path = key.slice(root.length);
  const slash = path.lastIndexOf('/');
  if (slash < 1 || slash === path.length - 1) return undefined;
  return { name: path.slice(0, slash), id: path.slice(slash + 1) };
}

function toGo(record: ServiceRecord<unknown>, schema: StandardSchema | undefined): Fields {
  const { address: _address, port: _port, metadata, ...ours } = writeFields(record, schema);
  // An object lies open, as Go programs expect it; whatever else has no room for ours but beside it.
  const open = isObject(metadata) && !(OURS in metadata);
  return {
    Op: 0,
    Addr: authorityOf(record.instance),
    Metadata: open ? { ...metadata, [OURS]: ours } : { [OURS]: { ...ours, metadata } },
  };
}

function fromGo<M>(where: InstanceName, stored: Fields, schema: StandardSchema<M, M> | undefined): DecodedRecord<M> {
  const place = splitAuthority(stored['Addr']);
  if (place === undefined) return { problem: 'Addr is not host:port' };
  const all = stored['Metadata'] ?? undefined;
  if (!isObject(all) || !isObject(all[OURS])) return readFields(where, { ...place, metadata: all ?? {} }, schema);
  const { [OURS]: ours, ...open } = all;
  return readFields(where, { metadata: open, ...ours, ...place }, schema);
}

/** The parts of `host:port` or `[v6]:port`; undefined when it is neither. */
function splitAuthority(text: unknown): { readonly address: string; readonly port: number } | undefined {
  if (typeof text !== 'string') return undefined;
  const match = AUTHORITY.exec(text);
  const address = match?.groups?.['v6'] ?? match?.groups?.['host'];
  const port = Number(match?.groups?.['port']);
  if (address === undefined || addressProblem(address) !== undefined) return undefined;
  return portProblem('port', port) === undefined ? { address, port } : undefined;
}

const AUTHORITY = /^(?:\[(?<v6>[0-9a-fA-F:.%]+)\]|(?<host>[^:]+)):(?<port>\d{1,5})$/;
