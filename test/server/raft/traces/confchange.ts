/**
 * The commands of traces about configurations: `simple`, `enter-joint [autoleave=b]`, `leave-joint`.
 *
 * The last index of the log goes up with every command, also with those that fail: it shows as `next` of new members.
 *
 * @module
 */
import {
  type Change,
  type ChangeBase,
  enterJoint,
  leaveJoint,
  simpleChange,
} from '../../../../src/server/raft/confchange/changer.ts';
import { ConfChangeError } from '../../../../src/server/raft/index.ts';
import { EMPTY_CONFIGURATION } from '../../../../src/server/raft/tracker/configuration.ts';
import { Inflights } from '../../../../src/server/raft/tracker/inflights.ts';
import { one, readArguments, truth } from './arguments.ts';
import { readChanges } from './changes.ts';
import { CommandError, type CommandSet } from './command-set.ts';
import { describeConfiguration, describeProgressMap } from './describe.ts';
import type { Directive } from './format.ts';

const MAX_INFLIGHT = 10;

export const confchangeCommands: CommandSet = {
  commands: new Set(['simple', 'enter-joint', 'leave-joint']),
  start() {
    let base: ChangeBase = {
      configuration: EMPTY_CONFIGURATION,
      progress: new Map(),
      lastIndex: 0,
      newInflights: () => new Inflights(MAX_INFLIGHT),
    };
    return (directive) => {
      try {
        const { configuration, progress } = change(base, directive);
        base = { ...base, configuration, progress };
        return `${describeConfiguration(configuration)}\n${describeProgressMap(progress)}`;
      } catch (cause) {
        if (cause instanceof ConfChangeError || cause instanceof CommandError) return `${cause.message}\n`;
        throw cause;
      } finally {
        base = { ...base, lastIndex: base.lastIndex + 1 };
      }
    };
  },
};

function change(base: ChangeBase, directive: Directive): Change {
  const joint = directive.command === 'enter-joint';
  const args = readArguments(directive, { bare: [0, 0], named: joint ? ['autoleave'] : [] });
  const changes = readChanges(directive.input);
  if (joint) return enterJoint(base, one(directive, args, 'autoleave', truth) ?? false, changes);
  if (directive.command === 'simple') return simpleChange(base, changes);
  if (changes.length > 0) throw new CommandError('this command takes no input');
  return leaveJoint(base);
}
