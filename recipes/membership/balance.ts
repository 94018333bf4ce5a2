/**
 * Who is to have which partition.
 *
 * Every member works that out by itself, from the same state. So the answer must not depend
 * on who asks, and it must stay the same while the members act on it, one release and one
 * claim after another; otherwise they would chase each other for ever. It holds that
 *
 * 1. no member has more than one partition more than another;
 * 2. as few partitions move as that allows;
 * 3. after any of the moves that lead there, the answer is the same as before.
 *
 * Source: the goals are those of Kafka's cooperative sticky assignor (KIP-429); there a
 * leader decides for all, here nobody has to be elected.
 *
 * @module
 */

/**
 * The owner that each partition is to have.
 *
 * @param members In the order of their arrival.
 * @param partitions In their order.
 * @param owners Who has a partition now. One whose owner is no member is left out of the
 * answer: it is nobody's to give before its claim is gone.
 */
export function balance(
  members: readonly string[],
  partitions: readonly string[],
  owners: ReadonlyMap<string, string>,
): Map<string, string> {
  const plan = new Map<string, string>();
  if (members.length === 0) return plan;
  const owned = new Map<string, string[]>(members.map((member) => [member, []]));
  const pool: string[] = [];
  for (const partition of partitions) {
    const owner = owners.get(partition);
    if (owner === undefined) pool.push(partition);
    else owned.get(owner)?.push(partition);
  }
  const quotas = quotasOf(members, owned, pool.length);
  for (const [member, theirs] of owned) {
    const quota = quotas.get(member) ?? 0;
    for (const partition of theirs.slice(0, quota)) plan.set(partition, member);
    pool.push(...theirs.slice(quota));
  }
  // In the order of the partitions again, so that it makes no difference which of them have been given up already.
  const rank = new Map(partitions.map((partition, index) => [partition, index]));
  pool.sort((a, b) => (rank.get(a) ?? 0) - (rank.get(b) ?? 0));
  let next = 0;
  for (const member of members) {
    const missing = (quotas.get(member) ?? 0) - (owned.get(member)?.length ?? 0);
    for (let n = 0; n < missing; n++) {
      const partition = pool[next++];
      if (partition !== undefined) plan.set(partition, member);
    }
  }
  return plan;
}

/** How many each member gets. What does not go evenly goes to those who have more already, then to the earliest. */
function quotasOf(
  members: readonly string[],
  owned: ReadonlyMap<string, readonly string[]>,
  free: number,
): Map<string, number> {
  const count = (member: string): number => owned.get(member)?.length ?? 0;
  const total = members.reduce((sum, member) => sum + count(member), free);
  const base = Math.floor(total / members.length);
  const more = members.filter((member) => count(member) > base);
  const rest = members.filter((member) => count(member) <= base);
  const favoured = new Set([...more, ...rest].slice(0, total % members.length));
  return new Map(members.map((member) => [member, base + (favoured.has(member) ? 1 : 0)]));
}
