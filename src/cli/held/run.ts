/**
 * The commands `lock` and `elect`: something is held for as long as a command runs, or until a signal comes.
 *
 * They meet `etcdctl lock` and `etcdctl elect` under the same names, those with a slash by `--raw-name`. With a command
 * the exit status is the command's; without one the key is printed when it is held, and the status is that of the signal
 * that ended it. When it is lost the status is 1.
 *
 * @module
 */
import { Election } from '../../../recipes/election/election.ts';
import { ElectionView } from '../../../recipes/election/view.ts';
import { HeldByAnotherError } from '../../../recipes/errors.ts';
import type { Held } from '../../../recipes/held.ts';
import { Mutex } from '../../../recipes/mutex.ts';
import { Session } from '../../../recipes/session.ts';
import { AbortError, type Etcd } from '../../index.ts';
import {
  type CommandContext,
  jsonText,
  type Run,
  readArgs,
  runCommand,
  UsageError,
  visible,
  wholeNumber,
  words,
} from '../command.ts';
import { CONNECTION_FLAGS, CONNECTION_USAGE, connect, durationMs } from '../connection.ts';
import { runChild } from './child.ts';

const WITH_COMMAND = `With a command it is held while that runs, and the exit status is the command's. The command finds the fencing token in
ETCDKIT_FENCING_TOKEN, and is killed when what is held is lost. Without one it is held until a signal comes.`;

const HELD_FLAGS_USAGE = `  --ttl SECONDS   how long the cluster waits for a holder that it does not hear of. Default: 15
  --wait TIME     how long to wait for it, as 500ms or 5s. Default: for ever
  --try           do not wait: exit status 1 when somebody else has it
  --raw-name      NAME stands in keys as it is, as with etcdctl; else a / in it is written as %2F`;

const LOCK_USAGE = `Usage: etcdkit lock NAME [flags] [-- COMMAND [ARGUMENT…]]

Takes a lock, of which there is one holder at a time.
${WITH_COMMAND}

Flags:
${HELD_FLAGS_USAGE}

${CONNECTION_USAGE}`;

const ELECT_USAGE = `Usage: etcdkit elect NAME [flags] [-- COMMAND [ARGUMENT…]]

Stands for election, and leads when it is its turn.
${WITH_COMMAND}

Flags:
  --value TEXT    what the others are told: an address
  --listen        do not stand: print who leads, and each change of it
${HELD_FLAGS_USAGE}

${CONNECTION_USAGE}`;

const text = { type: 'string' } as const;
const flag = { type: 'boolean' } as const;
const HELD_FLAGS = { ...CONNECTION_FLAGS, ttl: text, wait: text, try: flag, 'raw-name': flag } as const;

/** How to get what is to be held. */
interface Getting {
  readonly ttlSeconds: number;
  readonly timeoutMs: number | undefined;
  readonly isTry: boolean;
  readonly command: readonly string[];
}

/** Takes a lock. @returns The exit status. */
export function runLock(context: CommandContext): Promise<number> {
  return runCommand(context, LOCK_USAGE, async (run) => {
    const { own, command } = split(context.args);
    const { values, positionals } = readArgs(own, HELD_FLAGS);
    if (values.help) return help(run, LOCK_USAGE);
    const [name = ''] = words(positionals, ['NAME']);
    const getting = gettingOf(values, command);
    await using etcd = connect(values, run.environment);
    return await hold(etcd, run, getting, async (session) => {
      const mutex = new Mutex(session, name, { rawName: values['raw-name'] });
      const wait = { signal: run.signal, timeoutMs: getting.timeoutMs };
      if (!getting.isTry) return mutex.acquire(wait);
      const tried = await mutex.tryAcquire(wait);
      if (tried.acquired) return tried.lock;
      throw new HeldByAnotherError(`the lock ${name}`, tried.holder.owner);
    });
  });
}

/** Stands for election. @returns The exit status. */
export function runElect(context: CommandContext): Promise<number> {
  return runCommand(context, ELECT_USAGE, async (run) => {
    const { own, command } = split(context.args);
    const { values, positionals } = readArgs(own, { ...HELD_FLAGS, value: text, listen: flag });
    if (values.help) return help(run, ELECT_USAGE);
    const [name = ''] = words(positionals, ['NAME']);
    const getting = gettingOf(values, command);
    if (values.listen) {
      const flags = (['value', 'ttl', 'wait', 'try'] as const).filter((each) => values[each] !== undefined);
      const idle = [...flags.map((each) => `--${each}`), ...(command.length > 0 ? ['a command'] : [])];
      if (idle.length > 0) throw new UsageError(`--listen: who only listens has no use for ${idle.join(', ')}`);
    }
    await using etcd = connect(values, run.environment);
    const names = { rawName: values['raw-name'] };
    if (values.listen) return await listen(run, new ElectionView(etcd, name, names), values.json ?? false);
    return await hold(etcd, run, getting, async (session) => {
      const election = new Election(session, name, names);
      const options = { signal: run.signal, timeoutMs: getting.timeoutMs, value: values.value };
      if (!getting.isTry) return election.campaign(options);
      const tried = await election.tryCampaign(options);
      if (tried.elected) return tried.leadership;
      throw new Error(`${name} is led by ${visible(tried.leader.value) || 'another'}`);
    });
  });
}

/** The words before `--`, and the command behind it. */
function split(args: readonly string[]): { readonly own: readonly string[]; readonly command: readonly string[] } {
  const at = args.indexOf('--');
  return at < 0 ? { own: args, command: [] } : { own: args.slice(0, at), command: args.slice(at + 1) };
}

type HeldValues = { readonly [Name in 'ttl' | 'wait']?: string | undefined } & { readonly try?: boolean | undefined };

function gettingOf({ ttl = '15', wait, try: isTry = false }: HeldValues, command: readonly string[]): Getting {
  const timeoutMs = wait === undefined ? undefined : durationMs('wait', wait);
  return { ttlSeconds: wholeNumber('ttl', ttl, 1), timeoutMs, isTry, command };
}

/** Gets it, and holds it until the command has ended, a signal has come, or it is lost. */
async function hold(
  etcd: Etcd,
  run: Run,
  { ttlSeconds, command }: Getting,
  get: (session: Session) => Promise<Held>,
): Promise<number | undefined> {
  await using session = await Session.open(etcd, { ttlSeconds, signal: run.signal });
  await using held = await get(session);
  if (command.length > 0) {
    const { status, isLost } = await runChild(command, held, run.environment, run.signal);
    if (isLost) throw lostError(held);
    return status;
  }
  run.stdout.write(`${held.key}\n`);
  run.stderr.write(`fencing token ${held.token}\n`);
  await aborted(AbortSignal.any([held.signal, run.signal]));
  if (!run.signal.aborted) throw lostError(held);
  return undefined;
}

function lostError(held: Held): Error {
  const { reason } = held.signal;
  return reason instanceof Error ? reason : new Error('it is not held any more');
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true });
    if (signal.aborted) resolve();
  });
}

async function listen(run: Run, election: ElectionView, json: boolean): Promise<undefined> {
  try {
    for await (const state of election.observe({ signal: run.signal })) {
      const line =
        state.kind === 'vacant' ? 'nobody leads' : `${visible(state.value)} leads since revision ${state.term}`;
      run.stdout.write(`${json ? jsonText(state) : line}\n`);
    }
  } catch (error) {
    if (!(error instanceof AbortError)) throw error;
  }
  return undefined;
}

function help({ stdout }: Run, usage: string): number {
  stdout.write(usage);
  return 0;
}
