/**
 * A rule that a run has broken.
 */

/** What is checked. Names and numbers are those of the list in `oracle.ts`. */
export type Invariant =
  | 'S1 election safety'
  | 'S2 leader append-only'
  | 'S3 log matching'
  | 'S4 leader completeness'
  | 'S5 state machine safety'
  | 'S6 committed on a quorum'
  | 'S7 monotone state'
  | 'S8 durable before sent'
  | 'S9 one change at a time'
  | 'S10 fresh reads'
  | 'S11 fresh lease reads'
  | 'S12 quotas'
  | 'liveness'
  | 'no crash';

export class Violation extends Error {
  override name = 'Violation';
  readonly invariant: Invariant;

  constructor(invariant: Invariant, detail: string) {
    super(`${invariant}: ${detail}`);
    this.invariant = invariant;
  }
}

/** Ends the run if a rule does not hold. `detail` says what was found. */
export function expect(holds: boolean, invariant: Invariant, detail: () => string): asserts holds {
  if (!holds) throw new Violation(invariant, detail());
}
