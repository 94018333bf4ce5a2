/**
 * The Ready loop of a member that writes before it sends: one `Ready` at a time, from disk to network to state
 * machine.
 *
 * While the disk or the state machine is busy, messages and ticks still reach the core. A page with changes of
 * configuration, or a snapshot, is always applied before `advance`: the core counts them as in force from then on.
 */
import type { Ready } from '../../../src/server/raft/index.ts';
import type { Member } from './member.ts';
import { type ReadyLoop, store } from './ready-loop.ts';

export class SyncLoop implements ReadyLoop {
  readonly #member: Member;
  /** A `Ready` is out and not advanced yet. */
  #busy = false;

  constructor(member: Member) {
    this.#member = member;
  }

  pump(): void {
    const { node } = this.#member;
    while (!this.#busy && node.hasReady()) this.#take(node.ready());
  }

  #take(ready: Ready): void {
    const member = this.#member;
    this.#busy = true;
    member.world.oracle.handedOut(member, ready.committedEntries);
    member.readsReady(ready.readStates);
    store(member, ready, () => {
      member.send(ready.messages);
      if (!member.crashesAt('after-send')) this.#apply(ready);
    });
  }

  #apply({ snapshot, committedEntries: entries }: Ready): void {
    const { applier, world } = this.#member;
    if (snapshot === undefined && entries.length === 0) this.#advance();
    else if (world.options.waitsForApply || snapshot || entries.some(({ type }) => type !== 'EntryNormal')) {
      applier.add({ snapshot, entries, done: () => this.#advance() });
    } else {
      applier.add({ entries });
      this.#advance();
    }
  }

  #advance(): void {
    const { node, world } = this.#member;
    node.advance();
    this.#busy = false;
    world.oracle.core(this.#member);
  }
}
