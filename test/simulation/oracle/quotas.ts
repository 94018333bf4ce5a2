/**
 * Limits of sizes and windows (S12), and that what was sent is above what is known to be there (S7).
 */
import { type Entry, entriesSize, type Message, type RawNode } from '../../../src/server/raft/index.ts';
import type { Member } from '../cluster/member.ts';
import type { MemberFacts } from './facts.ts';
import { expect } from './violation.ts';

type Raft = RawNode['raft'];

/** An append is about to leave. `largestPayload`: bytes of the largest entry that there is. */
export function checkMessageQuotas(member: Member, m: Message, largestPayload: number): void {
  const { raft } = member.node;
  // Those of the options, not of the core: what is checked is whether it keeps them.
  const { maxSizePerMessage, maxInflightMessages, maxInflightBytes } = member.world.options.limits;
  const fits = m.entries.length <= 1 || entriesSize(m.entries) <= maxSizePerMessage;
  expect(fits, 'S12 quotas', () => {
    return `member ${member.ordinal} sends ${entriesSize(m.entries)} bytes, ${maxSizePerMessage} are allowed`;
  });
  const progress = raft.tracker.progress.get(m.to);
  if (progress === undefined || raft.role !== 'StateLeader') return;
  const { match, next, inflights } = progress;
  expect(match < next, 'S7 monotone state', () => {
    return `member ${member.ordinal} knows of entry ${match} at another, and is to send ${next}`;
  });
  // The append that passes the limit of bytes is still sent.
  const largest = maxSizePerMessage + largestPayload;
  expect(inflights.count <= maxInflightMessages && inflights.bytes < maxInflightBytes + largest, 'S12 quotas', () => {
    return `member ${member.ordinal} has ${inflights.count} appends of ${inflights.bytes} bytes in flight`;
  });
}

/** Committed entries are handed out for applying. */
export function checkPage(facts: MemberFacts, raft: Raft, page: readonly Entry[]): void {
  const { maxCommittedSizePerReady } = facts.member.world.options.limits;
  facts.pages = facts.pages.filter(({ last }) => last > raft.log.applied);
  let outstanding = 0;
  for (const { bytes } of facts.pages) outstanding += bytes;
  const bytes = entriesSize(page);
  const fits = page.length === 1 || outstanding + bytes <= maxCommittedSizePerReady;
  expect(fits && outstanding < maxCommittedSizePerReady, 'S12 quotas', () => {
    const found = `${bytes} bytes to apply on top of ${outstanding}`;
    return `member ${facts.member.ordinal} hands out ${found}, ${maxCommittedSizePerReady} are allowed`;
  });
  facts.pages.push({ last: (page.at(-1) as Entry).index, bytes });
}
