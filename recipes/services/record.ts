/**
 * How a registered instance is stored: the seam between the registration, which writes, and the discovery, which reads.
 *
 * A layout says under which key an instance is and what its value looks like. Two come with the package: ours
 * (json-layout.ts) and the one of Go's `naming/endpoints` (go-layout.ts).
 *
 * Besides the instance a record has a `nonce`, drawn once per registration, by which a registration knows its own record
 * again whatever became of its lease and of the answers to its writes; and an `owner`, who that is, for people.
 *
 * Reading is lenient where nothing can go wrong (fields that are missing have defaults, fields that are not known are
 * ignored, so versions of this package mix), and strict where a request would go astray: address, ports, weight, status,
 * and metadata that has a schema. An entry that can't be used is a problem told in words, without any value of it, never
 * an exception: one bad entry must not spoil the list.
 *
 * @module
 */

import type { StandardSchema } from '../../src/index.ts';
import type { Owner } from '../names.ts';
import type { Metadata, ServiceInstance } from './instance.ts';

/** What is stored of one instance. */
export interface ServiceRecord<M = Metadata> {
  readonly instance: ServiceInstance<M>;
  /** Drawn once per registration; absent in what others than this package have written. */
  readonly nonce: string | undefined;
  /** Which process registered it, as far as that is known. For people: nothing is decided by it. */
  readonly owner: Owner | undefined;
}

/** What became of reading an entry: a record, or what is wrong with it, in words that hold no value of it. */
export type DecodedRecord<M = Metadata> =
  | (ServiceRecord<M> & { readonly problem?: undefined })
  | { readonly problem: string };

/** Which instance a key is of. */
export interface InstanceName {
  /** The service. */
  readonly name: string;
  /** The instance, unique within the service. */
  readonly id: string;
}

/** Under which keys instances are, and what their values look like. */
export interface ServiceLayout<M = Metadata> {
  /** What the keys of all services begin with. */
  readonly root: string;
  /**
   * Whether whoever reads this layout sees the status. Where not, an instance that is not `up` has no key: otherwise it
   * would go on getting requests.
   */
  readonly carriesStatus: boolean;
  /** What the keys of a service's instances, and no others, begin with. @throws InvalidArgumentError for an empty name. */
  prefixOf(name: string): string;
  /** The key of an instance. @throws InvalidArgumentError for a name or an id that can't be one. */
  keyOf(name: string, id: string): string;
  /**
   * Which instance a key is of; undefined when it is none's. Say the service if it is known: where names are not escaped,
   * the key alone leaves it open.
   */
  locate(key: string, name?: string): InstanceName | undefined;
  /** The value of an instance's key. @throws InvalidArgumentError when the metadata do not fit their schema. */
  encode(record: ServiceRecord<M>): Uint8Array;
  /** Reads an entry; `name` as for {@link ServiceLayout.locate}. Never throws. */
  decode(key: string, value: Uint8Array, name?: string): DecodedRecord<M>;
}

/** How a layout stores. */
export interface LayoutOptions {
  /** What all keys begin with. Default: the layout's own. */
  readonly prefix?: string | undefined;
}

/** How a layout stores metadata of a shape of its own. */
export interface TypedLayoutOptions<M> extends LayoutOptions {
  /**
   * The shape of the metadata, checked when they are written and when they are read: zod or any Standard Schema that
   * answers at once. What it takes must be what it gives: it may fill in defaults, but not change types.
   */
  readonly metadata: StandardSchema<M, M>;
}
