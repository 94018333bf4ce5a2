/**
 * What is worked out once for each array of instances.
 *
 * The caller of a balancer hands over the same array until something changes, so most picks find their sums and groups done.
 * It holds because nobody changes an array, or an instance, after it was handed over. An array that nobody holds any more
 * takes its results with it.
 *
 * @module
 */

/** A function that does its work once for each array, told apart by identity. */
export function perArray<A extends object, R>(work: (array: A) => R): (array: A) => R {
  const known = new WeakMap<A, { readonly result: R }>();
  return (array) => {
    const hit = known.get(array);
    if (hit !== undefined) return hit.result;
    const result = work(array);
    known.set(array, { result });
    return result;
  };
}
