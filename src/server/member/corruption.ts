/**
 * Whether the members still have the same keys.
 *
 * Three checks, each of hashes at a revision; who is found to differ is told by the CORRUPT alarm, after which nobody
 * writes any more until an operator has looked:
 *
 * - initial: before a member takes part, against what the others say. One that differs does not start.
 * - periodic: the leader compares its own keys with those of the others, and takes itself for the one who is right.
 * - compact hash: the leader compares what compactions have left. A hash that most members share is right; if there is
 *   none, nobody knows who is wrong, and the alarm names member 0.
 *
 * A member that can't answer, or has not come to the revision, or has compacted behind it, says nothing by that.
 *
 * Source: etcd's data corruption guide, and its servers 3.5 and 3.6 as observed.
 *
 * @module
 */
import type { Clock, Timer } from '../../support/clock.ts';
import type { StateMachine } from '../apply/machine.ts';
import type { PeerHash, Peers } from './peers.ts';

/** How long a member may take for its hash before a member that starts goes on without it, in ms. */
const INITIAL_WAIT_MS = 5_000;

/** Why a member does not start: it has other keys than its cluster. */
export class CorruptDataError extends Error {
  override name = 'CorruptDataError';

  constructor(revision: number) {
    super(`found data inconsistency with peers: the keys at revision ${revision} are not those of other members`);
  }
}

export interface CorruptionOptions {
  readonly id: bigint;
  readonly clock: Clock;
  readonly state: StateMachine;
  readonly peers: Pick<Peers, 'hashKv'>;
  /** How often the leader compares its keys with the others', in ms; undefined: never. */
  readonly periodicMs: number | undefined;
  /** How often it compares the hashes of compactions, in ms; undefined: never. */
  readonly compactHashMs: number | undefined;
  /** A linearizable read. */
  readonly linearize: (signal: AbortSignal) => Promise<void>;
  /** Raises the alarm. */
  readonly alarm: (member: bigint) => Promise<unknown>;
  /** Fires when the member ends. */
  readonly ending: AbortSignal;
}

/** A hash, and whose it is. */
interface Said {
  readonly id: bigint;
  readonly hash: Pick<PeerHash, 'hash' | 'compactRevision' | 'revision'>;
}

/** See the head of this file. */
export class Corruption {
  readonly #options: CorruptionOptions;
  readonly #timers: (Timer | undefined)[] = [];
  /** The last compaction whose hashes were all compared. */
  #comparedTo = 0;
  #leading = false;

  constructor(options: CorruptionOptions) {
    this.#options = options;
  }

  /** This member leads. */
  lead(): void {
    const { periodicMs, compactHashMs } = this.#options;
    this.stop();
    this.#leading = true;
    this.#repeat(0, periodicMs, () => this.#compareKeys());
    this.#repeat(1, compactHashMs, () => this.#compareCompactions());
  }

  /** It does not lead, or ends. */
  stop(): void {
    this.#leading = false;
    for (const timer of this.#timers) timer?.cancel();
  }

  /** @throws CorruptDataError another member that has come as far has other keys. */
  async checkInitially(): Promise<void> {
    const { clock, state, ending } = this.#options;
    const limit = new AbortController();
    const timer = clock.after(INITIAL_WAIT_MS, () => limit.abort(), { background: true });
    try {
      const { revision } = state.store;
      const own = state.hashKv(revision);
      if (typeof own === 'string') return;
      for (const { hash } of await this.#ask(revision, AbortSignal.any([limit.signal, ending]))) {
        if (hash.compactRevision === own.compactRevision && hash.hash !== own.hash)
          throw new CorruptDataError(revision);
      }
    } finally {
      timer.cancel();
    }
  }

  #repeat(slot: number, everyMs: number | undefined, check: () => Promise<void>): void {
    if (everyMs === undefined || !this.#leading) return;
    const next = (): void => this.#repeat(slot, everyMs, check);
    // One that fails is made again: there was no quorum, or nobody answered.
    const due = (): void =>
      void check()
        .catch(() => {})
        .then(next);
    this.#timers[slot]?.cancel();
    this.#timers[slot] = this.#options.clock.after(everyMs, due, { background: true });
  }

  async #compareKeys(): Promise<void> {
    const { state, linearize, ending } = this.#options;
    await linearize(ending);
    const { revision } = state.store;
    const before = state.hashKv(revision);
    if (typeof before === 'string') return;
    const said = await this.#ask(revision, ending);
    // What the others may know by now, this one does then too.
    await linearize(ending);
    const { store } = state;
    for (const { id, hash } of said) {
      const ahead = hash.revision > store.revision || hash.compactRevision > store.compactRevision;
      const differs = hash.compactRevision === before.compactRevision && hash.hash !== before.hash;
      if (ahead || differs) await this.#alarm(id);
    }
  }

  async #compareCompactions(): Promise<void> {
    const { id, state, ending } = this.#options;
    const members = state.members.list().length;
    for (const { revision, ...made } of state.compactHashes().toReversed()) {
      if (revision <= this.#comparedTo) return;
      const others = await this.#ask(revision, ending);
      const said = [{ id, hash: { ...made, revision } }, ...others].filter(
        ({ hash }) => hash.compactRevision === made.compactRevision,
      );
      const wrong = outvoted(said, members);
      for (const one of wrong) await this.#alarm(one);
      if (wrong.length === 0 && said.length === members) this.#comparedTo = revision;
      if (wrong.length > 0 || said.length === members) return;
    }
  }

  async #ask(revision: number, signal: AbortSignal): Promise<readonly Said[]> {
    const { id: own, state, peers } = this.#options;
    const others = state.members.list().filter(({ id }) => id !== own);
    const answers = await Promise.all(
      others.map(async ({ id }) => ({ id, answer: await peers.hashKv(id, revision, signal) })),
    );
    return answers.flatMap(({ id, answer }) => (answer.type === 'answer' ? [{ id, hash: answer.value }] : []));
  }

  async #alarm(member: bigint): Promise<void> {
    if (this.#leading) await this.#options.alarm(member);
  }
}

/** Who has another hash than most members; 0 for one that can't be named. */
function outvoted(said: readonly Said[], members: number): readonly bigint[] {
  const counts = new Map<number, number>();
  for (const { hash } of said) counts.set(hash.hash, (counts.get(hash.hash) ?? 0) + 1);
  if (counts.size <= 1) return [];
  for (const [hash, count] of counts) {
    if (count > members / 2) return said.filter((one) => one.hash.hash !== hash).map(({ id }) => id);
  }
  return [0n];
}
