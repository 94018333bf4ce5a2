/**
 * Faults put into a member on purpose, each of which the simulator has to notice. Files are below src/server/.
 */
import type { Mutant } from '../../../server/raft/mutants/mutant.ts';
import type { MemberSimOptions } from '../options.ts';
import { tornTails } from '../scenarios.ts';

/** A fault, and what has to happen often for it to be noticed. */
export interface MemberMutant extends Mutant {
  /** What it changes of what seeds draw. Default: nothing. */
  readonly scenario?: ((options: MemberSimOptions) => MemberSimOptions) | undefined;
}

export const MEMBER_MUTANTS: readonly MemberMutant[] = [
  {
    name: 'answers-before-durable',
    file: 'member/loop.ts',
    rule: 'Entries and votes are acknowledged only once they are durable.',
    find: 'if (done === undefined) { this.#written(append); return; }',
    replace: 'this.#written(append); if (done !== null) return;',
  },
  {
    name: 'forgets-votes',
    file: 'member/loop.ts',
    rule: 'Term and vote are written to the log.',
    find: 'journal.append({ entries: work.entries, hardState })',
    replace: 'journal.append({ entries: work.entries })',
  },
  {
    name: 'image-renamed-before-synced',
    file: 'member/data-dir.ts',
    rule: 'An image is synced before it gets its name.',
    find: 'await file.sync();',
    replace: '',
  },
  {
    name: 'image-without-log-record',
    file: 'member/snapshots.ts',
    rule: 'The log is released only behind an image that it has a record of.',
    find: 'await record({ index, term, confState: encodeConfState(confState) });',
    replace: '',
  },
  {
    name: 'log-released-too-far',
    file: 'member/snapshots.ts',
    rule: 'What an image lacks stays in the log, whatever was applied meanwhile.',
    find: 'await journal.release(index);',
    replace: 'await journal.release(state.index);',
  },
  {
    name: 'log-released-before-image',
    file: 'member/snapshots.ts',
    rule: 'Nothing of the log is let go before the image is in its place.',
    find: 'if (files) {',
    replace: 'await journal.release(index); if (files) {',
  },
  {
    name: 'image-keeps-old-votes',
    file: 'member/images-in.ts',
    rule: 'An image from the leader is in the log, with the configuration as of it, before it counts.',
    find: 'await journal.append({ ...batch, snapshot: { index, term, confState: encodeConfState(confState) } });',
    replace: '',
  },
  {
    name: 'image-state-not-swapped',
    file: 'member/images-in.ts',
    rule: 'An image from the leader becomes the state.',
    find: 'swap(); snapshots.installed',
    replace: 'snapshots.installed',
  },
  {
    name: 'image-loses-keys-of-leases',
    file: 'apply/machine.ts',
    rule: 'Keys hang on their leases again when an image is loaded.',
    find: 'lessor.restore(state.leases, book.finish());',
    replace: 'lessor.restore(state.leases, []); book.finish();',
  },
  {
    name: 'watchers-skip-image',
    file: 'mvcc/watch.ts',
    rule: 'Watchers read on from where they are when an image comes.',
    find: 'Math.max(entry.nextRevision, known + 1)',
    replace: 'store.revision + 1',
  },
  {
    name: 'slow-watcher-loses-batch',
    file: 'mvcc/watch.ts',
    rule: 'What a slow reader has not taken comes again.',
    find: 'else this.#fallBehind(entry, first.main);',
    replace: 'else this.#fallBehind(entry, first.main + 1);',
  },
  {
    name: 'read-before-applied',
    file: 'member/reads.ts',
    rule: 'A read waits until its position is applied.',
    find: 'if (index <= this.#options.applied()) for',
    replace: 'if (index > 0) for',
  },
  {
    name: 'read-joins-round',
    file: 'member/reads.ts',
    rule: 'A reader that comes while a round is underway waits for the next one.',
    find: 'const readers = this.#waiting; if (signal)',
    replace: 'const readers = (this.#round?.readers as Set<Reader> | undefined) ?? this.#waiting; if (signal)',
  },
  {
    name: 'read-without-quorum',
    file: 'member/reads.ts',
    rule: 'A position for reads comes from the leader and its quorum.',
    find: 'readers.add(reader);',
    replace: 'resolve(); return;',
  },
  {
    name: 'wait-ends-early',
    file: 'member/applied-waits.ts',
    rule: 'Who waits for an entry waits until it is applied.',
    find: 'if (wait.index <= index) wait.end',
    replace: 'if (wait.index <= index + 1) wait.end',
  },
  {
    name: 'request-ids-repeat',
    file: 'member/request-ids.ts',
    rule: 'A member gives no request the id of one of an earlier run.',
    find: '(Math.trunc(timeOfDayMs) * COUNTER)',
    replace: '(0 * timeOfDayMs)',
  },
  {
    name: 'timeout-says-not-done',
    file: 'member/proposals.ts',
    rule: 'A request that is in the log when its time is over may still be done.',
    find: 'unsent.has(id) ? Refusals.DeadlineExceeded : timeoutOf(endsAt - timeoutMs)',
    replace: 'Refusals.DeadlineExceeded',
  },
  {
    name: 'deposed-leader-ends-leases',
    file: 'member/leader-duties.ts',
    rule: 'Who leads no more ends no leases.',
    find: 'this.#options.leases.demote();',
    replace: '',
  },
  {
    name: 'new-leader-ends-leases',
    file: 'lease/lessor.ts',
    rule: 'A new leader gives leases their time afresh.',
    find: '(lease.remainingSeconds || lease.ttlSeconds) * SECOND_MS',
    replace: '0',
  },
  {
    name: 'renewal-without-checkpoint',
    file: 'member/lease-keeper.ts',
    rule: 'A renewal is answered only once no checkpoint can take it back.',
    find: 'if (renewed.checkpoint) await',
    replace: 'if (renewed.checkpoint && state.index < 0) await',
  },
  {
    name: 'renews-what-has-ended',
    file: 'lease/lessor.ts',
    rule: 'A lease whose time is over is not renewed.',
    find: "if (lease.endsAt <= now) return 'expired';",
    replace: '',
  },
  {
    name: 'leases-never-end',
    file: 'member/lease-keeper.ts',
    rule: 'The leader ends leases whose time is over.',
    find: 'for (const id of lessor.expired(now)) this.#due.add(id);',
    replace: '',
  },
  {
    name: 'image-forgets-leases',
    file: 'snapshot/backend-image.ts',
    rule: 'Leases are in images.',
    find: 'lease: sorted(state.leases,',
    replace: 'lease: sorted([],',
  },
  {
    name: 'applies-again',
    file: 'apply/machine.ts',
    rule: 'What is applied already is passed over.',
    find: 'this.#index = Number(state.consistentIndex);',
    replace: 'this.#index = Number(state.consistentIndex) - 1;',
  },
  {
    name: 'torn-tail-stays',
    file: 'wal/repair.ts',
    rule: 'What a crash tore off the log is cut off before the log goes on.',
    find: 'await file.resize(tail.offset); await file.resize(',
    replace: 'await file.resize(',
    scenario: tornTails,
  },
  {
    name: 'segment-named-before-old-is-durable',
    file: 'wal/tail.ts',
    rule: 'A file of the log is durable before the next one has its name.',
    find: 'await this.#file.resize(this.#offset); await this.#file.sync();',
    replace: 'await this.#file.resize(this.#offset);',
  },
];
