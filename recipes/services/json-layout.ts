/**
 * Our own layout.
 *
 * The key is `<prefix><service>/<id>`, names escaped as in names.ts, so that `orders` and `orders/eu` don't mix. The value
 * is JSON with the fields of an instance; the key alone says which service and which instance it is. Whoever writes an
 * entry by hand needs no more than `{"address":"10.0.0.7","port":8080}`.
 *
 * @module
 */

import { InvalidArgumentError, json } from '../../src/index.ts';
import { escapeName, recipePrefix, unescapeName } from '../names.ts';
import { readFields, readJson, writeFields } from './fields.ts';
import type { Metadata } from './instance.ts';
import type { InstanceName, LayoutOptions, ServiceLayout, TypedLayoutOptions } from './record.ts';

/** Our prefix, unless told otherwise. */
const DEFAULT_PREFIX = 'services/';

/**
 * Our own layout, the default: `services/<name>/<id>` with JSON of which only `address` and `port` are needed. Default
 * prefix: `services/`.
 */
export function jsonLayout(options?: LayoutOptions): ServiceLayout<Metadata>;
/** Our own layout, with metadata of a shape of their own. */
export function jsonLayout<M>(options: TypedLayoutOptions<M>): ServiceLayout<M>;
export function jsonLayout<M>(options: LayoutOptions & Partial<TypedLayoutOptions<M>> = {}): ServiceLayout<unknown> {
  const { prefix: root = DEFAULT_PREFIX, metadata } = options;
  const prefixOf = (name: string): string => root + recipePrefix(name);
  const locate = (key: string): InstanceName | undefined => {
    if (!key.startsWith(root)) return undefined;
    const [name = '', id = '', ...more] = key.slice(root.length).split('/').map(unescapeName);
    return name === '' || id === '' || more.length > 0 ? undefined : { name, id };
  };
  return {
    root,
    carriesStatus: true,
    prefixOf,
    keyOf(name, id) {
      if (typeof id !== 'string' || id === '') throw new InvalidArgumentError('the id is empty');
      return prefixOf(name) + escapeName(id);
    },
    locate,
    encode: (record) => ANY_JSON.encode(writeFields(record, metadata)),
    decode(key, value) {
      const where = locate(key);
      if (where === undefined) return { problem: 'the key is not that of an instance' };
      return readJson(value, (stored) => readFields(where, stored, metadata));
    },
  };
}

const ANY_JSON = json();
