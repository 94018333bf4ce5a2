/**
 * Builds a configuration from what a snapshot says of it.
 *
 * It goes the way a cluster would have gone: the outgoing half is made first, one voter at a time, then the joint
 * configuration is entered. So nothing can be restored that could not have come about.
 *
 * @module
 */

import type { MemberId } from '../../../protocol/int64.ts';
import type { ConfChangeSingle, ConfChangeType } from '../conf-change.ts';
import type { ConfState } from '../types.ts';
import { type Change, type ChangeBase, enterJoint, simpleChange } from './changer.ts';

/** The configuration that `confState` describes, made from an empty one. */
export function restoreConfiguration(base: ChangeBase, confState: ConfState): Change {
  const { voters, learners, votersOutgoing, learnersNext, autoLeave } = confState;
  const outgoing = changes('add-voter', votersOutgoing);
  const incoming = [
    ...changes('remove', votersOutgoing),
    ...changes('add-voter', voters),
    ...changes('add-learner', learners),
    ...changes('add-learner', learnersNext),
  ];
  const stepwise = votersOutgoing.length === 0 ? incoming : outgoing;
  let at: ChangeBase = base;
  for (const change of stepwise) at = { ...at, ...simpleChange(at, [change]) };
  return votersOutgoing.length === 0 ? at : enterJoint(at, autoLeave, incoming);
}

function changes(type: ConfChangeType, ids: readonly MemberId[]): ConfChangeSingle[] {
  return ids.map((nodeId) => ({ type, nodeId }));
}
