/**
 * Messages, entries, snapshots, progress and configurations as traces print them.
 *
 * The text is etcd's, byte by byte. What is zero is left out of a message. The addresses of a message are in
 * hexadecimal; ids in states, configurations, changes and lists of progress are in decimal.
 *
 * @module
 */
import type { MemberId } from '../../../../src/protocol/int64.ts';
import {
  APPEND_THREAD,
  APPLY_THREAD,
  asV2,
  type ConfChangeType,
  type Configuration,
  type ConfState,
  type Entry,
  type HardState,
  isJoint,
  type Message,
  NONE,
  type Progress,
  type ReadState,
  type Ready,
  readConfChange,
  type Snapshot,
  type SoftState,
} from '../../../../src/server/raft/index.ts';
import { goQuote } from './go-quote.ts';

const CHANGE_LETTERS: Readonly<Record<ConfChangeType, string>> = {
  'add-voter': 'v',
  'add-learner': 'l',
  remove: 'r',
  update: 'u',
};

/** A `Ready`: with a line end at its end, but for an empty one. */
export function describeReady(ready: Ready): string {
  const { softState, hardState, readStates, entries, snapshot, committedEntries, messages } = ready;
  const lines: string[] = [];
  if (softState) lines.push(describeSoftState(softState));
  if (hardState) lines.push(`HardState ${describeHardState(hardState)}`);
  if (readStates.length > 0) lines.push(`ReadStates [${readStates.map(describeReadState).join(' ')}]`);
  if (entries.length > 0) lines.push('Entries:', ...entries.map(describeEntry));
  if (snapshot) lines.push(`Snapshot ${describeSnapshot(snapshot)}`);
  if (committedEntries.length > 0) lines.push('CommittedEntries:', ...committedEntries.map(describeEntry));
  if (messages.length > 0) lines.push('Messages:', ...messages.map((m) => describeMessage(m)));
  if (lines.length === 0) return '<empty Ready>';
  return [`Ready MustSync=${ready.mustSync}:`, ...lines, ''].join('\n');
}

/** A message: one line, and more for several entries, a snapshot and responses. */
export function describeMessage(m: Message, indent = ''): string {
  const inside = `${indent}  `;
  const parts = [
    `${indent}${describeAddress(m.from)}->${describeAddress(m.to)} ${m.type} Term:${m.term} Log:${m.logTerm}/${m.index}`,
  ];
  if (m.reject) parts.push(` Rejected (Hint: ${m.rejectHint})`);
  if (m.commit !== 0) parts.push(` Commit:${m.commit}`);
  if (m.vote !== NONE) parts.push(` Vote:${m.vote}`);
  const [entry, ...more] = m.entries.map(describeEntry);
  if (more.length > 0) parts.push(` Entries:[\n${inside}${[entry, ...more].join(`\n${inside}`)}\n${indent}]`);
  else if (entry !== undefined) parts.push(` Entries:[${entry}]`);
  if (m.snapshot && m.snapshot.index !== 0) parts.push(`\n${inside}Snapshot: ${describeSnapshot(m.snapshot)}`);
  if (m.responses.length > 0) {
    parts.push(
      ` Responses:[\n${m.responses.map((response) => describeMessage(response, inside)).join('\n')}\n${indent}]`,
    );
  }
  return parts.join('');
}

/** Entries, each with a line end. */
export function describeEntries(entries: readonly Entry[]): string {
  return entries.map((entry) => `${describeEntry(entry)}\n`).join('');
}

export function describeEntry(entry: Entry): string {
  const content = entry.type === 'EntryNormal' ? goQuote(entry.data) : describeChanges(entry);
  return `${entry.term}/${entry.index} ${entry.type}${content === '' ? '' : ` ${content}`}`;
}

/** Progress of each member in the order of ids, each with a line end. */
export function describeProgressMap(progress: ReadonlyMap<MemberId, Progress>): string {
  const ids = [...progress.keys()].sort((a, b) => (a < b ? -1 : 1));
  return ids.map((id) => `${id}: ${describeProgress(progress.get(id) as Progress)}\n`).join('');
}

export function describeConfiguration(configuration: Configuration): string {
  const { voters, learners, learnersNext, autoLeave } = configuration;
  const half = (ids: readonly MemberId[]): string => `(${ids.join(' ')})`;
  const parts = [`voters=${half(voters.incoming)}`];
  if (isJoint(configuration)) parts.push(`&&${half(voters.outgoing)}`);
  if (learners.length > 0) parts.push(` learners=${half(learners)}`);
  if (learnersNext.length > 0) parts.push(` learners_next=${half(learnersNext)}`);
  if (autoLeave) parts.push(' autoleave');
  return parts.join('');
}

function describeAddress(id: MemberId): string {
  if (id === NONE) return 'None';
  if (id === APPEND_THREAD) return 'AppendThread';
  if (id === APPLY_THREAD) return 'ApplyThread';
  return id.toString(16);
}

function describeSoftState({ lead, role }: SoftState): string {
  return `Lead:${lead} State:${role}`;
}

function describeHardState({ term, vote, commit }: HardState): string {
  return `Term:${term}${vote === NONE ? '' : ` Vote:${vote}`} Commit:${commit}`;
}

/** As Go prints a struct of a number and a slice of bytes. */
function describeReadState({ index, context }: ReadState): string {
  return `{${index} [${context.join(' ')}]}`;
}

function describeSnapshot({ index, term, confState }: Snapshot): string {
  return `Index:${index} Term:${term} ConfState:${describeConfState(confState)}`;
}

function describeConfState({ voters, votersOutgoing, learners, learnersNext, autoLeave }: ConfState): string {
  const list = (ids: readonly MemberId[]): string => `[${ids.join(' ')}]`;
  return (
    `Voters:${list(voters)} VotersOutgoing:${list(votersOutgoing)} Learners:${list(learners)} ` +
    `LearnersNext:${list(learnersNext)} AutoLeave:${autoLeave}`
  );
}

function describeChanges(entry: Entry): string {
  const { changes } = asV2(readConfChange(entry));
  return changes.map(({ type, nodeId }) => `${CHANGE_LETTERS[type]}${nodeId}`).join(' ');
}

function describeProgress(progress: Progress): string {
  const { state, match, next, pendingSnapshot, inflights } = progress;
  const parts = [`${state} match=${match} next=${next}`];
  if (progress.isLearner) parts.push('learner');
  if (progress.paused) parts.push('paused');
  if (pendingSnapshot > 0) parts.push(`pendingSnap=${pendingSnapshot}`);
  if (!progress.recentActive) parts.push('inactive');
  if (inflights.count > 0) parts.push(`inflight=${inflights.count}${inflights.full ? '[full]' : ''}`);
  return parts.join(' ');
}
