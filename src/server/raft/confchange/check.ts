/**
 * What holds for every configuration.
 *
 * @module
 */
import { invariant } from '../errors.ts';
import { allVoters } from '../quorum/joint.ts';
import { type Configuration, isJoint } from '../tracker/configuration.ts';
import type { ProgressMap } from '../tracker/tracker.ts';

/**
 * Checks a configuration against itself.
 *
 * @throws RaftInvariantError when a member's part is ambiguous, or its progress unknown.
 */
export function checkConfiguration({
  configuration,
  progress,
}: {
  readonly configuration: Configuration;
  readonly progress: ProgressMap;
}): void {
  const { voters, learners, learnersNext, autoLeave } = configuration;
  for (const id of [...allVoters(voters), ...learners, ...learnersNext]) {
    invariant(progress.has(id), () => `no progress for ${id.toString(16)}`);
  }
  for (const id of learnersNext) {
    invariant(
      voters.outgoing.includes(id),
      () => `${id.toString(16)} is to become a learner, but is no outgoing voter`,
    );
    invariant(progress.get(id)?.isLearner === false, () => `${id.toString(16)} is marked as a learner too early`);
  }
  for (const id of learners) {
    invariant(!allVoters(voters).includes(id), () => `${id.toString(16)} is both learner and voter`);
    invariant(progress.get(id)?.isLearner === true, () => `${id.toString(16)} is not marked as a learner`);
  }
  if (isJoint(configuration)) return;
  invariant(learnersNext.length === 0, () => 'learnersNext is set outside a joint configuration');
  invariant(!autoLeave, () => 'autoLeave is set outside a joint configuration');
}
