/**
 * The commands of interaction traces: what each one takes, and what it does.
 *
 * @module
 */
import { memberId } from '../../../../../src/protocol/int64.ts';
import { EMPTY } from '../../../../../src/protocol/wire.ts';
import type { ConfChange, MessageType, Refusal, Transition } from '../../../../../src/server/raft/index.ts';
import { seeded } from '../../support/parts.ts';
import { type Arguments, one, readArguments, text, truth, whole } from '../arguments.ts';
import { readChanges } from '../changes.ts';
import { CommandError, type CommandSet } from '../command-set.ts';
import { describeProgressMap } from '../describe.ts';
import { type Directive, TraceError } from '../format.ts';
import { levelNamed } from '../output.ts';
import { addNodes, ELECTION_TICKS, HEARTBEAT_TICKS } from './add-nodes.ts';
import { Environment, type Recipient, refusalText } from './environment.ts';
import type { TraceMember } from './member.ts';

type Command = (env: Environment, directive: Directive) => void;

const MESSAGE_TYPES: readonly MessageType[] = [
  'MsgHup',
  'MsgBeat',
  'MsgProp',
  'MsgApp',
  'MsgAppResp',
  'MsgVote',
  'MsgVoteResp',
  'MsgSnap',
  'MsgHeartbeat',
  'MsgHeartbeatResp',
  'MsgUnreachable',
  'MsgSnapStatus',
  'MsgCheckQuorum',
  'MsgTransferLeader',
  'MsgTimeoutNow',
  'MsgReadIndex',
  'MsgReadIndexResp',
  'MsgPreVote',
  'MsgPreVoteResp',
  'MsgStorageAppend',
  'MsgStorageAppendResp',
  'MsgStorageApply',
  'MsgStorageApplyResp',
  'MsgForgetLeader',
];
const TRANSITIONS: readonly Transition[] = ['auto', 'implicit', 'explicit'];
const MANY = Number.POSITIVE_INFINITY;

const COMMANDS: ReadonlyMap<string, Command> = new Map<string, Command>([
  ['_breakpoint', () => {}],
  ['campaign', forOne((_, { node }) => node.campaign())],
  ['compact', compact],
  ['deliver-msgs', deliverMessages],
  ['forget-leader', forOne((_, { node }) => node.forgetLeader())],
  ['log-level', logLevel],
  ['process-append-thread', forEach('processing append thread', (env, member) => env.processAppend(member))],
  ['process-apply-thread', forEach('processing apply thread', (env, member) => env.processApply(member))],
  ['process-ready', forEach('handling Ready', (env, member) => env.processReady(member))],
  ['propose', propose],
  ['propose-conf-change', proposeConfChange],
  ['raft-log', forOne((env, member) => env.printLog(member))],
  ['raft-state', raftState],
  ['report-unreachable', forTwo((_, one, other) => one.node.reportUnreachable(other.id))],
  ['send-snapshot', forTwo((env, from, to) => env.sendSnapshot(from, to))],
  ['set-randomized-election-timeout', setElectionTimeout],
  ['stabilize', stabilize],
  ['status', forOne((env, { node }) => env.output.write(describeProgressMap(node.status().progress)))],
  ['tick-election', forOne((_, member) => tick(member, ELECTION_TICKS))],
  ['tick-heartbeat', forOne((_, member) => tick(member, HEARTBEAT_TICKS))],
  ['transfer-leadership', transferLeadership],
]);

export const interactionCommands: CommandSet = {
  commands: new Set([...COMMANDS.keys(), 'add-nodes']),
  start({ seed }) {
    const env = new Environment();
    const random = seeded(seed);
    return (directive) => {
      env.output.take();
      const command: Command = COMMANDS.get(directive.command) ?? ((on, given) => addNodes(on, given, random));
      try {
        command(env, directive);
      } catch (cause) {
        if (!(cause instanceof CommandError)) throw cause;
        // Even a level that keeps nothing keeps errors.
        if (env.output.quiet) return cause.message;
        env.output.write(cause.message);
      }
      return env.output.take() || 'ok';
    };
  },
};

/** A command for one member. As in etcd, further bare arguments of such a command mean nothing. */
function forOne(run: (env: Environment, member: TraceMember) => void): Command {
  return (env, directive) => {
    const { bare } = readArguments(directive, { bare: [1, MANY] });
    run(env, memberAt(env, directive, bare[0]));
  };
}

/** A command for two members. */
function forTwo(run: (env: Environment, one: TraceMember, other: TraceMember) => void): Command {
  return (env, directive) => {
    const { bare } = readArguments(directive, { bare: [2, 2] });
    run(env, memberAt(env, directive, bare[0]), memberAt(env, directive, bare[1]));
  };
}

/** A command for any number of members; with more than one, each has a title. */
function forEach(title: string, run: (env: Environment, member: TraceMember) => void): Command {
  return (env, directive) => {
    const { bare } = readArguments(directive, { bare: [0, MANY] });
    const members = bare.map((given) => memberAt(env, directive, given));
    for (const member of members) {
      if (members.length === 1) run(env, member);
      else {
        env.output.write(`> ${member.id} ${title}\n`);
        env.output.indented(() => run(env, member));
      }
    }
  };
}

function compact(env: Environment, directive: Directive): void {
  const { bare } = readArguments(directive, { bare: [2, MANY] });
  const member = memberAt(env, directive, bare[0]);
  const index = whole(directive, bare[1] as string);
  if (index < member.storage.firstIndex()) {
    throw new CommandError('requested index is unavailable due to compaction');
  }
  member.storage.compact(index);
  env.printLog(member);
}

function deliverMessages(env: Environment, directive: Directive): void {
  const args = readArguments(directive, { bare: [0, MANY], named: ['type', 'drop'] });
  // In the order in which they are written, and not first the ones and then the others.
  const recipients = directive.args.flatMap(({ key, values }): Recipient[] => {
    if (key === 'type') return [];
    return (values.length === 0 ? [key] : values).map((given) => {
      return { id: memberId(whole(directive, given)), drop: values.length > 0 };
    });
  });
  const both = recipients.find(({ id, drop }) => drop && recipients.some((other) => other.id === id && !other.drop));
  if (both) throw new TraceError(directive, `messages to ${both.id} can not be both delivered and dropped`);
  if (env.deliver(recipients, one(directive, args, 'type', messageType)) === 0) env.output.write('no messages\n');
}

function logLevel(env: Environment, directive: Directive): void {
  const { bare } = readArguments(directive, { bare: [1, MANY] });
  setLevel(env, directive, bare[0] as string);
}

function propose(env: Environment, directive: Directive): void {
  const { bare } = readArguments(directive, { bare: [2, 2] });
  const member = memberAt(env, directive, bare[0]);
  refused(member.node.propose(new TextEncoder().encode(bare[1])));
}

function proposeConfChange(env: Environment, directive: Directive): void {
  const args = readArguments(directive, { bare: [1, MANY], named: ['v1', 'transition'] });
  const member = memberAt(env, directive, args.bare[0]);
  refused(member.node.proposeConfChange(readConfChange(directive, args)));
}

function readConfChange(directive: Directive, args: Arguments): ConfChange {
  const transition = one(directive, args, 'transition', readTransition) ?? 'auto';
  const changes = readChanges(directive.input);
  if (!one(directive, args, 'v1', truth)) return { transition, changes, context: EMPTY };
  const [change, ...more] = changes;
  if (change === undefined || more.length > 0 || transition !== 'auto') {
    throw new CommandError('v1 conf change can only have one operation and no transition');
  }
  return { ...change, id: 0n, context: EMPTY };
}

function readTransition(_directive: Directive, value: string): Transition {
  const transition = TRANSITIONS.find((known) => known === value);
  if (transition === undefined) throw new CommandError(`unknown transition ${value}`);
  return transition;
}

function raftState({ members, output }: Environment, directive: Directive): void {
  readArguments(directive, { bare: [0, MANY] });
  for (const { id, node } of members) {
    const { softState, hardState, configuration } = node.status();
    const { incoming, outgoing } = configuration.voters;
    const votes = incoming.includes(id) || outgoing.includes(id) ? '(Voter)' : '(Non-Voter)';
    output.write(`${id}: ${softState.role} ${votes} Term:${hardState.term} Lead:${softState.lead}\n`);
  }
}

function setElectionTimeout(env: Environment, directive: Directive): void {
  const args = readArguments(directive, { bare: [1, MANY], named: ['timeout'] });
  const timeout = one(directive, args, 'timeout', whole);
  if (!timeout) throw new TraceError(directive, 'timeout= is missing or 0');
  memberAt(env, directive, args.bare[0]).node.raft.electionTimeout = timeout;
}

function stabilize(env: Environment, directive: Directive): void {
  const args = readArguments(directive, { bare: [0, MANY], named: ['log-level'] });
  const members = args.bare.map((given) => memberAt(env, directive, given));
  const before = env.output.level;
  try {
    const level = one(directive, args, 'log-level', text);
    if (level !== undefined) setLevel(env, directive, level);
    env.stabilize(members.length > 0 ? members : env.members);
  } finally {
    env.output.level = before;
  }
}

function transferLeadership(env: Environment, directive: Directive): void {
  const args = readArguments(directive, { bare: [0, 0], named: ['from', 'to'] });
  const from = memberAt(env, directive, one(directive, args, 'from', text));
  from.node.transferLeader(memberAt(env, directive, one(directive, args, 'to', text)).id);
}

function memberAt({ members }: Environment, directive: Directive, given: string | undefined): TraceMember {
  const member = given === undefined ? undefined : members[whole(directive, given) - 1];
  if (!member) throw new TraceError(directive, `there is no node ${given ?? ''}`);
  return member;
}

function messageType(directive: Directive, value: string): MessageType {
  const type = MESSAGE_TYPES.find((known) => known === value);
  if (type === undefined) throw new TraceError(directive, `${value} is no kind of message`);
  return type;
}

function setLevel({ output }: Environment, directive: Directive, name: string): void {
  const level = levelNamed(name);
  if (level === undefined) throw new TraceError(directive, `${name} is no log level`);
  output.level = level;
}

function refused(refusal: Refusal | undefined): void {
  if (refusal !== undefined) throw new CommandError(refusalText(refusal));
}

function tick({ node }: TraceMember, ticks: number): void {
  for (let nth = 0; nth < ticks; nth += 1) node.tick();
}
