/**
 * A rule that a run of whole members has broken.
 *
 * Rules are looked at within calls of the members, who would take what is thrown there for a failure of their own. So a
 * broken rule is kept, and the run ends with the event in which it was found.
 */

/** What is checked; `oracle.ts`, `histories.ts` and `heal.ts` say what each of them means. */
export type MemberRule =
  | 'one leader'
  | 'same entries'
  | 'same state'
  | 'applied in order'
  | 'durable'
  | 'history'
  | 'watch'
  | 'lease'
  | 'restart'
  | 'no crash'
  | 'liveness';

export interface BrokenRule {
  readonly rule: MemberRule;
  readonly detail: string;
  readonly atUs: number;
}

/** Keeps the first rule that is broken. */
export class Verdict {
  broken: BrokenRule | undefined;
  readonly #nowUs: () => number;

  constructor(nowUs: () => number) {
    this.#nowUs = nowUs;
  }

  /** A rule has to hold. */
  expect(holds: boolean, rule: MemberRule, detail: () => string): void {
    if (!holds) this.fail(rule, detail());
  }

  fail(rule: MemberRule, detail: string): void {
    this.broken ??= { rule, detail, atUs: this.#nowUs() };
  }
}
