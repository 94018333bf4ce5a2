/** Changes and configurations in short, for tests. */
import type { ConfChangeSingle, ConfChangeType } from '../../../../src/server/raft/conf-change.ts';
import type { Change, ChangeBase } from '../../../../src/server/raft/confchange/changer.ts';
import { EMPTY_CONFIGURATION } from '../../../../src/server/raft/tracker/configuration.ts';
import { Inflights } from '../../../../src/server/raft/tracker/inflights.ts';
import { id } from '../support.ts';

const KINDS: Readonly<Record<string, ConfChangeType>> = { v: 'add-voter', l: 'add-learner', r: 'remove', u: 'update' };

/** `v1 l2 r3 u4`: make 1 a voter and 2 a learner, remove 3, update 4. */
export function changes(text: string): ConfChangeSingle[] {
  const words = text.split(' ').filter((word) => word !== '');
  return words.map((word) => ({ type: KINDS[word.charAt(0)]!, nodeId: id(Number(word.slice(1))) }));
}

/** What the next change starts from; at first, nobody. */
export function baseOf(
  change: Change = { configuration: EMPTY_CONFIGURATION, progress: new Map() },
  lastIndex = 10,
): ChangeBase {
  return { ...change, lastIndex, newInflights: () => new Inflights(7, 70) };
}

/** `1 2 && 2 3 learners 4 next 3 auto`: voters, those of the outgoing half, and the rest where there is any. */
export function show({ configuration }: Pick<Change, 'configuration'>): string {
  const { voters, learners, learnersNext, autoLeave } = configuration;
  const part = (name: string, list: readonly bigint[]) => (list.length > 0 ? [name, ...list] : []);
  const parts = [
    ...voters.incoming,
    ...part('&&', voters.outgoing),
    ...part('learners', learners),
    ...part('next', learnersNext),
    ...(autoLeave ? ['auto'] : []),
  ];
  return parts.join(' ');
}
