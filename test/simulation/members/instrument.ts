/**
 * Looks over the shoulder of state machines: tells of each entry that one applies, and of each image that it becomes.
 *
 * Classes are changed, once, for all of this process; state machines that nobody has asked about go on as before. One is
 * known by its users, since what a member hands out first of its own, for its tokens, asks those.
 */
import { type AppliedEntry, StateMachine } from '../../../src/server/apply/machine.ts';
import { AuthStore } from '../../../src/server/auth/store.ts';
import type { TokenContext } from '../../../src/server/member/options.ts';
import type { Entry } from '../../../src/server/raft/index.ts';

/** Who wants to hear of one state machine. */
export interface StateObserver {
  /** An entry was applied; `applied` is what it came to. */
  applied(state: StateMachine, entry: Entry, applied: AppliedEntry): void;
  /** It has become what an image says. */
  restored(state: StateMachine): void;
}

const observers = new WeakMap<AuthStore, StateObserver>();
let asked: AuthStore | undefined;
let installed = false;

/** Tells an observer of a member's state machine, by what that was given for its tokens. Its constructor is over. */
export function observeState({ actor }: TokenContext, observer: StateObserver): void {
  install();
  asked = undefined;
  actor('');
  if (asked) observers.set(asked, observer);
}

function install(): void {
  if (installed) return;
  installed = true;
  const { actor } = AuthStore.prototype;
  AuthStore.prototype.actor = function (name) {
    asked = this;
    return actor.call(this, name);
  };
  const { apply, prepare } = StateMachine.prototype;
  StateMachine.prototype.apply = function (entry, now) {
    const before = this.index;
    const applied = apply.call(this, entry, now);
    if (entry.index > before) observers.get(this.auth)?.applied(this, entry, applied);
    return applied;
  };
  StateMachine.prototype.prepare = async function (state, load) {
    const become = await prepare.call(this, state, load);
    return () => {
      become();
      observers.get(this.auth)?.restored(this);
    };
  };
}
