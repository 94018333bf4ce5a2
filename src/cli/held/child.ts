/**
 * A command that runs while something is held.
 *
 * It is told the fencing token, and killed when what was held is lost: at once and hard, since from then on another one may
 * run elsewhere; whatever it does to other stores should go with the token all the same. What etcdkit is told by a signal
 * the command is told too, and what is held stays held until it has ended.
 *
 * Only the command itself is killed. One that starts others in the background has to end them.
 *
 * @module
 */
import { spawn } from 'node:child_process';
import os from 'node:os';
import type { Revision } from '../../index.ts';

/** What a command runs under. */
export interface Guard {
  /** Grows from holder to holder. */
  readonly token: Revision;
  /** Fires when it is lost. */
  readonly signal: AbortSignal;
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** How a command has ended. */
export interface ChildEnd {
  /** Its exit status; 128 and the number of the signal that ended it. */
  readonly status: number;
  /** Whether it was killed since what was held is lost. */
  readonly isLost: boolean;
}

/**
 * Runs a command to its end.
 *
 * @param stop Fires when it is asked to end: it gets the signal that is its reason, or else SIGTERM.
 * @throws Error it cannot be started.
 */
export function runChild(
  [file = '', ...args]: readonly string[],
  { token, signal }: Guard,
  environment: NodeJS.ProcessEnv,
  stop: AbortSignal,
): Promise<ChildEnd> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      stdio: 'inherit',
      env: { ...environment, ETCDKIT_FENCING_TOKEN: String(token) },
    });
    let isLost = false;
    const onLost = (): void => {
      isLost = true;
      child.kill('SIGKILL');
    };
    const onStop = (): void => {
      const name = SIGNALS.find((known) => known === stop.reason) ?? 'SIGTERM';
      // A terminal tells all that run on it, and to be interrupted twice is to be told to hurry.
      if (name !== 'SIGINT' || process.stdin.isTTY !== true) child.kill(name);
    };
    const over = (): void => {
      signal.removeEventListener('abort', onLost);
      stop.removeEventListener('abort', onStop);
    };
    signal.addEventListener('abort', onLost, { once: true });
    stop.addEventListener('abort', onStop, { once: true });
    child.once('error', (error: NodeJS.ErrnoException) => {
      over();
      reject(new Error(`${file} cannot be started: ${error.code ?? 'it failed'}`));
    });
    child.once('exit', (code, ending) => {
      over();
      resolve({ status: code ?? 128 + (ending === null ? 0 : os.constants.signals[ending]), isLost });
    });
    if (signal.aborted) onLost();
    else if (stop.aborted) onStop();
  });
}
