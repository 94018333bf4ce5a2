/** Finds what keeps a process alive when it should not. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { tieProcess } from './lifeline.ts';

const POLL_MS = 20;
const SETTLE_MS = 2_000;
const EXIT_MS = 15_000;

/** Come and go by themselves with file access and the turns of the event loop. */
const TRANSIENT = ['Immediate', 'TickObject', 'FSReqCallback', 'FSReqPromise', 'GetAddrInfoReqWrap'];

/** What keeps the event loop alive now, compared later with what does then. */
export interface ResourceSnapshot {
  /** What is there now and was not at the time of the snapshot: one word for each, such as `TCPSocketWrap`. */
  added(): string[];
  /** Rejects when something added is still there after `settleMs`, which closing may take. */
  expectNothingAdded(options?: { settleMs?: number; ignore?: readonly string[] }): Promise<void>;
}

/** Notes the resources that are active now. Take it when all shared things of the test (clusters) are up. */
export function snapshotResources(): ResourceSnapshot {
  const before = activeResources();
  const added = (): string[] => {
    const left = [...before];
    return activeResources().filter((resource) => {
      const index = left.indexOf(resource);
      if (index >= 0) left.splice(index, 1);
      return index < 0;
    });
  };
  return {
    added,
    async expectNothingAdded({ settleMs = SETTLE_MS, ignore = [] } = {}) {
      const deadline = performance.now() + settleMs;
      for (;;) {
        const leaked = added().filter((resource) => !ignore.includes(resource));
        if (leaked.length === 0) return;
        if (performance.now() > deadline) throw new Error(`still active after ${settleMs} ms: ${leaked.join(', ')}`);
        await sleep(POLL_MS);
      }
    },
  };
}

/** How a script ran that ended by itself. */
export interface ProcessResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly elapsedMs: number;
}

/**
 * Runs a TypeScript file in a process of its own and expects it to end by itself, with code 0. Still running after
 * `timeoutMs` (something keeps it alive), another code or a signal are errors that show its output.
 */
export async function expectProcessExits(
  scriptPath: string,
  args: readonly string[] = [],
  options: { timeoutMs?: number; env?: Readonly<Record<string, string>> } = {},
): Promise<ProcessResult> {
  const { timeoutMs = EXIT_MS } = options;
  const started = performance.now();
  const child = spawn(process.execPath, ['--import', 'tsx', path.resolve(scriptPath), ...args], {
    // Here the loader is found whatever the current folder is.
    cwd: path.join(import.meta.dirname, '..', '..'),
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  tieProcess(child);
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] += text;
    });
  }
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill('SIGKILL');
  }, timeoutMs);
  try {
    const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
    if (code !== 0) {
      const fate = late ? `was still running after ${timeoutMs} ms` : `ended with ${signal ?? `code ${code}`}`;
      throw new Error(`${path.basename(scriptPath)} ${fate}\n${output.stdout}${output.stderr}`);
    }
    return { ...output, elapsedMs: performance.now() - started };
  } finally {
    clearTimeout(timer);
  }
}

function activeResources(): string[] {
  return process.getActiveResourcesInfo().filter((resource) => !TRANSIENT.includes(resource));
}
