/**
 * The command `cluster`: several members on this machine, as processes of their own, under one command.
 *
 * Without a sub-command it starts them, shows how they are until it is told to end, and ends them. What it keeps is in
 * one folder, so that the next one goes on with the same members; sub-commands in other shells find it there.
 *
 * Exit status: 2 for a command line that is none, 1 for what can't be done, 0 for the rest; after a signal 128 and its
 * number, as shells have it.
 *
 * @module
 */
import os from 'node:os';
import path from 'node:path';
import { systemClock } from '../../support/clock.ts';
import { deferred, sleep } from '../../support/signals.ts';
import { ControlError, ControlServer, tell } from './control.ts';
import { KEYS, keyReader } from './keys.ts';
import { CLUSTER_USAGE, type ClusterCommand, ClusterUsageError, parseCluster, planCluster } from './settings.ts';
import { readState, type StateFile, writeState } from './state-file.ts';
import { type MemberLine, Supervisor } from './supervisor.ts';
import { tableOf, View } from './view.ts';
import { Watchdog } from './watchdog.ts';

/** How often it is looked how the members are, in ms. */
const LOOK_MS = 500;
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Runs it. @returns The exit status. */
export async function runCluster({ args }: { readonly args: readonly string[] }): Promise<number> {
  try {
    return await run(parseCluster(args));
  } catch (error) {
    if (error instanceof ClusterUsageError) {
      process.stderr.write(`${error.message}\n${CLUSTER_USAGE}`);
      return 2;
    }
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
}

async function run(command: ClusterCommand): Promise<number> {
  if (command.type === 'help') {
    process.stdout.write(CLUSTER_USAGE);
    return 0;
  }
  const dataDir = path.resolve(command.dataDir);
  const state = await readState(dataDir);
  if (command.type === 'up') return up(dataDir, state, command.options.real, () => planCluster(command.options));
  if (state?.control === undefined) throw new ControlError(`no cluster runs in ${dataDir}`);
  switch (command.type) {
    case 'member':
      await tell(state.control, 'POST', `/${command.action}/${encodeURIComponent(command.member)}`);
      return 0;
    case 'down':
      await tell(state.control, 'POST', '/down');
      return 0;
    case 'status': {
      const { members } = (await tell(state.control, 'GET', '/status')) as { members: readonly MemberLine[] };
      process.stdout.write(command.json ? `${JSON.stringify(members, undefined, 2)}\n` : tableOf(members));
      return 0;
    }
  }
}

async function up(
  dataDir: string,
  before: StateFile | undefined,
  real: string | undefined,
  plan: () => Promise<StateFile>,
): Promise<number> {
  if (before?.control && (await runs(before.control))) throw new ControlError(`a cluster runs in ${dataDir} already`);
  const { clusterToken, members } = before ?? (await plan());
  const supervisor = new Supervisor({ dataDir, clusterToken, members, real, watchdog: new Watchdog() });
  const end = deferred<number>();
  const control = await ControlServer.open(supervisor, () => end.resolve(0));
  await writeState(dataDir, { clusterToken, members, control: control.control });
  const unlisten = onSignals((status, again) => {
    end.resolve(status);
    // Whoever asks twice does not want to wait.
    if (again) void supervisor.killAll();
  });
  const view = new View(process.stdout, process.stdout.isTTY && process.env.NO_COLOR === undefined);
  view.keys = KEYS;
  view.say(`export ETCDCTL_ENDPOINTS=${supervisor.endpoints}`);
  const closeKeys = readKeys(supervisor, view, () => end.resolve(0));
  const over = new AbortController();
  supervisor.start();
  const watching = watch(supervisor, view, over.signal);
  const status = await end.promise;
  over.abort();
  closeKeys();
  await watching;
  view.say('ending all members');
  await supervisor.close();
  await control.close();
  await writeState(dataDir, { clusterToken, members });
  unlisten();
  return status;
}

/** Whether somebody answers there. */
async function runs(control: NonNullable<StateFile['control']>): Promise<boolean> {
  try {
    await tell(control, 'GET', '/status');
    return true;
  } catch (error) {
    if (error instanceof ControlError) return false;
    throw error;
  }
}

/** Shows how the members are, at once after each change of a process, and else now and then. */
async function watch(supervisor: Supervisor, view: View, over: AbortSignal): Promise<void> {
  let changed = new AbortController();
  for (const member of supervisor.members) member.changed = () => changed.abort();
  let isReady = false;
  while (!over.aborted) {
    const lines = await supervisor.look();
    if (over.aborted) return;
    view.show(lines);
    const allHealthy = lines.every(({ healthy }) => healthy);
    if (allHealthy && !isReady) view.say('ready: all members are healthy');
    isReady ||= allHealthy;
    await sleep(systemClock, LOOK_MS, changed.signal, over);
    changed = new AbortController();
  }
}

/** Listens to the keyboard, or to a pipe. @returns Ends that. */
function readKeys(supervisor: Supervisor, view: View, quit: () => void): () => void {
  const doing = (action: Promise<void>): void => {
    action.catch((error: unknown) => view.say(error instanceof Error ? error.message : 'it failed'));
  };
  const read = keyReader({
    toggle: (member) => member <= supervisor.members.length && doing(supervisor.toggle(member)),
    togglePause: (member) => member <= supervisor.members.length && doing(supervisor.togglePause(member)),
    moveLeader: () => doing(supervisor.moveLeader()),
    quit,
  });
  const { stdin } = process;
  stdin.setEncoding('utf8').on('data', read);
  // A shell in the background has no terminal to read from.
  stdin.on('error', () => {});
  if (stdin.isTTY) stdin.setRawMode(true);
  return () => {
    if (stdin.isTTY) stdin.setRawMode(false);
    stdin.off('data', read);
    stdin.pause();
  };
}

function onSignals(hear: (status: number, again: boolean) => void): () => void {
  let count = 0;
  const listeners = SIGNALS.map((signal) => {
    const listener = (): void => {
      count += 1;
      hear(128 + (os.constants.signals[signal] ?? 0), count > 1);
    };
    process.on(signal, listener);
    return { signal, listener };
  });
  return () => {
    for (const { signal, listener } of listeners) process.off(signal, listener);
  };
}
