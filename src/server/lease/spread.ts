/**
 * Spreads out leases that would end together.
 *
 * A new leader gives every lease its time again, all from the same moment: what was granted over a day now ends in one
 * second. Each end is a write of the whole cluster, so the later ones of a crowd are put off.
 *
 * etcd puts leases off by whole windows and lets the last of a crowd bunch again; here the bound holds for every second.
 *
 * Source: etcd's release notes, "lessor: extend leases on promote if expires will be rate limited" (3.2).
 *
 * @module
 */

/** Fewer than can end in a second, so that a crowd leaves room for leases that end on their own. */
export const ENDS_PER_SECOND = 750;

const SECOND_MS = 1_000;

/**
 * Puts off what is too much, in place: of any `perSecond + 1` times that follow each other the last is at least a
 * second after the first. None becomes earlier, and their order stays.
 *
 * @param times In ms, ascending.
 */
export function spread(times: number[], perSecond: number = ENDS_PER_SECOND): void {
  for (let i = perSecond; i < times.length; i += 1) {
    times[i] = Math.max(times[i] as number, (times[i - perSecond] as number) + SECOND_MS);
  }
}
