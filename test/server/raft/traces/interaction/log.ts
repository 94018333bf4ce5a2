/**
 * Events of the core as the log lines of etcd's library that carry the same fact.
 *
 * @module
 */
import type { MemberId } from '../../../../../src/protocol/int64.ts';
import type { RaftEvent, Role } from '../../../../../src/server/raft/index.ts';
import { describeConfiguration } from '../describe.ts';
import { SILENT_DROPS } from '../normalise.ts';
import type { Output } from '../output.ts';

const ROLES: Readonly<Record<Role, string>> = {
  StateFollower: 'follower',
  StatePreCandidate: 'pre-candidate',
  StateCandidate: 'candidate',
  StateLeader: 'leader',
};

export function logEvent(output: Output, id: MemberId, event: RaftEvent): void {
  output.log('INFO', `${id.toString(16)} ${line(event)}`);
}

function line(event: RaftEvent): string {
  if (event.type === 'became') return `became ${ROLES[event.role]} at term ${event.term}`;
  if (event.type === 'configuration') return `switched to configuration ${describeConfiguration(event.configuration)}`;
  return SILENT_DROPS[event.type][0];
}
