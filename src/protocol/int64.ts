/**
 * etcd's 64-bit identifiers as branded `bigint`s.
 *
 * Everything etcd counts or names with 64 bits is a `bigint` here: revisions pass
 * 2^53 in no realistic cluster, but member, cluster and lease ids are random 64-bit
 * numbers, and one silent rounding makes a lock belong to somebody else. The brands
 * cost nothing at run time; they keep a lease id from being passed where a revision
 * belongs.
 *
 * @module
 */

declare const brand: unique symbol;
type Branded<Name extends string> = bigint & { readonly [brand]: Name };

/** A point in the store's history: one more with each write. The first write of a fresh store gets 2. */
export type Revision = Branded<'Revision'>;

/** Names a lease. Chosen by the client on grant, so that a grant can be repeated safely. */
export type LeaseId = Branded<'LeaseId'>;

/** Names a member of a cluster. Unsigned 64-bit. */
export type MemberId = Branded<'MemberId'>;

/** Names a cluster. Unsigned 64-bit. */
export type ClusterId = Branded<'ClusterId'>;

const MAX_INT64 = 2n ** 63n - 1n;
const MIN_INT64 = -(2n ** 63n);
const MAX_UINT64 = 2n ** 64n - 1n;

function checked(name: string, value: bigint | number | string, min: bigint, max: bigint): bigint {
  const big = toBigInt(name, value);
  if (big < min || big > max) throw new RangeError(`${name} ${big} is outside ${min}…${max}`);
  return big;
}

function toBigInt(name: string, value: bigint | number | string): bigint {
  if (typeof value === 'bigint') return value;
  if (typeof value === 'number' && !Number.isSafeInteger(value)) {
    throw new RangeError(`${name} ${value} is not a safe integer: pass a bigint`);
  }
  try {
    return BigInt(value);
  } catch {
    throw new RangeError(`${name} is not an integer`);
  }
}

/**
 * Makes a {@link Revision} of a number that came from elsewhere (a file, a header).
 *
 * @throws RangeError when it is negative, not an integer, or over 2^63-1.
 */
export function revision(value: bigint | number | string): Revision {
  return checked('revision', value, 0n, MAX_INT64) as Revision;
}

/**
 * Makes a {@link LeaseId}. A string is read as etcdctl prints ids: hexadecimal.
 *
 * @throws RangeError when it does not fit a signed 64-bit integer.
 */
export function leaseId(value: bigint | number | string): LeaseId {
  const parsed = typeof value === 'string' ? BigInt.asIntN(64, fromHex('lease id', value)) : value;
  return checked('lease id', parsed, MIN_INT64, MAX_INT64) as LeaseId;
}

/**
 * Makes a {@link MemberId}. A string is read as etcdctl prints ids: hexadecimal.
 *
 * @throws RangeError when it does not fit an unsigned 64-bit integer.
 */
export function memberId(value: bigint | number | string): MemberId {
  const parsed = typeof value === 'string' ? fromHex('member id', value) : value;
  return checked('member id', parsed, 0n, MAX_UINT64) as MemberId;
}

function fromHex(name: string, text: string): bigint {
  if (!/^(0x)?[0-9a-f]{1,16}$/i.test(text)) throw new RangeError(`${name} is not a 64-bit hexadecimal number`);
  return BigInt(text.startsWith('0x') || text.startsWith('0X') ? text : `0x${text}`);
}

/** The way etcdctl prints an id: lower-case hexadecimal of the unsigned 64 bits, without leading zeros. */
export function formatId(id: LeaseId | MemberId | ClusterId): string {
  return BigInt.asUintN(64, id).toString(16);
}
