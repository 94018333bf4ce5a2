/**
 * Messages as a line to read, in the form that etcd's raft library prints them.
 */

import type { Message } from '../../src/server/raft/index.ts';

/** A message without its addresses: kind, term, log position, and what it carries. */
export function describeMessage(m: Message): string {
  const parts = [`${m.type} term ${m.term} log ${m.logTerm}/${m.index}`];
  if (m.reject) parts.push(`rejected, hint ${m.rejectHint}`);
  if (m.commit > 0) parts.push(`commit ${m.commit}`);
  const first = m.entries[0];
  const last = m.entries.at(-1);
  if (first && last) parts.push(`entries ${first.term}/${first.index} to ${last.term}/${last.index}`);
  if (m.snapshot) parts.push(`snapshot ${m.snapshot.term}/${m.snapshot.index}`);
  if (m.context.length > 0) parts.push(`context of ${m.context.length} bytes`);
  return parts.join(', ');
}
