/** What the generators know of the servers, from the answers so far. */
import type { LeaderKey } from '../../../../src/protocol/generated/v3electionpb.ts';
import type { Dice } from '../dice.ts';
import { type Caller, STRANGER } from '../steps.ts';

/** Users besides root; the last one is seldom there. */
export const USERS = ['u0', 'u1', 'u2'] as const;
export const ROLES = ['r0', 'r1', 'r2'] as const;

/** Leases that come and go. The last is one that nobody grants. */
const LEASES = [101n, 102n, 103n, -7n, 2n ** 63n - 1n, 999n] as const;

export class Scene {
  readonly dice: Dice;
  /** Whether users have permissions in this sequence. */
  readonly withAuth: boolean;
  /** Of the store, as the last header said. */
  revision = 1n;
  compacted = 0n;
  /** Whether permissions are looked at. */
  authOn = false;
  /** By the name of the election. */
  readonly leaders = new Map<string, LeaderKey>();
  /** Open watch streams. */
  readonly streams = new Set<string>();
  #asked: Caller;

  constructor(dice: Dice, withAuth: boolean) {
    this.dice = dice;
    this.withAuth = withAuth;
  }

  /** Chooses who asks next. */
  chooseCaller(): void {
    const { dice } = this;
    if (!this.withAuth) this.#asked = dice.chance(1) ? STRANGER : undefined;
    else if (!this.authOn) this.#asked = dice.of([undefined, 'root', 'u0']);
    else
      this.#asked = dice.weighted<Caller>([
        [10, 'root'],
        [12, 'u0'],
        [12, 'u1'],
        [3, 'u2'],
        [1, undefined],
        [1, STRANGER],
      ]);
  }

  caller(): Caller {
    return this.#asked;
  }

  /** Whether who asks next may do only some things. */
  get restricted(): boolean {
    return this.authOn && this.#asked !== 'root';
  }

  lease(): bigint {
    return this.dice.of(LEASES);
  }
}
