/**
 * A server's life as a process: until SIGTERM or SIGINT.
 *
 * The signal is raised again once everything is closed, since a process that caught it and exited looks to its parent
 * as one that ended by itself. Process 1 of a container has no default action to fall back on, so it exits with 0.
 *
 * @module
 */
import type { EtcdServer } from '../etcd-server.ts';
import type { ServerLog } from '../log.ts';

const CALLER = 'cli/signals.ts';
const SIGNALS = ['SIGTERM', 'SIGINT'] as const;
type Signal = (typeof SIGNALS)[number];

/** As etcd's log has them. */
const NAMES: Readonly<Record<Signal, string>> = { SIGTERM: 'terminated', SIGINT: 'interrupt' };

/**
 * Starts a server, and stops it when a signal comes, be it while it starts.
 *
 * @param graceMs How long calls that are in work may take then.
 * @returns Why it failed; undefined if a signal ended it in a process that signals don't end.
 * @throws what `start` throws.
 */
export async function serveUntilSignal(
  start: () => Promise<Pick<EtcdServer, 'failed' | 'stop'>>,
  graceMs: number,
  log: ServerLog,
): Promise<unknown> {
  let came: (signal: Signal) => void = () => {};
  const signalled = new Promise<Signal>((resolve) => {
    came = resolve;
  });
  let first = true;
  const onSignal = (signal: NodeJS.Signals): void => {
    if (!first) raise(signal as Signal);
    first = false;
    log.write('info', CALLER, 'received signal; shutting down', { signal: NAMES[signal as Signal] });
    came(signal as Signal);
  };
  const raise = (signal: Signal): void => {
    for (const name of SIGNALS) process.removeListener(name, onSignal);
    if (process.pid === 1) process.exit(0);
    process.kill(process.pid, signal);
  };
  for (const name of SIGNALS) process.on(name, onSignal);
  const starting = start();
  // Who is signalled waits for it further down; until then nobody does.
  starting.catch(() => {});
  const early = await Promise.race([starting, signalled]);
  if (typeof early === 'string') {
    // What it has opened ends with the process, and nothing was acknowledged.
    raise(early);
    return undefined;
  }
  const end = await Promise.race([
    signalled.then((signal) => ({ signal })),
    early.failed.then((reason: unknown) => ({ reason })),
  ]);
  await early.stop({ graceMs });
  if ('reason' in end) return end.reason;
  raise(end.signal);
  return undefined;
}
