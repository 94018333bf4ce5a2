/** All mutants. */
import { ELECTION_MUTANTS } from './election-mutants.ts';
import { LEADER_MUTANTS } from './leader-mutants.ts';
import { LOG_MUTANTS } from './log-mutants.ts';
import { MEMBER_MUTANTS } from './member-mutants.ts';
import type { Mutant } from './mutant.ts';

export const MUTANTS: readonly Mutant[] = [...LOG_MUTANTS, ...ELECTION_MUTANTS, ...LEADER_MUTANTS, ...MEMBER_MUTANTS];
