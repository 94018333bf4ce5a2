/**
 * What a fleet's processes are told, and what they tell: one JSON object per line.
 *
 * A process writes to its pipe at once, so what it has said before it is killed arrives; of its requests, which it tells
 * of in batches, the last quarter of a second is lost.
 */

/** What a process is started with. */
export interface Plan {
  /** Of the process; the ids of its instances begin with it. */
  readonly label: string;
  /** Where its instances register. */
  readonly store: string;
  /** Where it discovers from, which may be cut. */
  readonly window: string;
  /** What the keys begin with. */
  readonly prefix: string;
  /** How many instances it has of each service; it discovers them all. */
  readonly services: Readonly<Record<string, number>>;
  readonly ttlSeconds: number;
  /** How long a drain lets the news spread. */
  readonly drainMs: number;
  /** How long from one request to each service to the next one. */
  readonly pickEveryMs: number;
}

/** `deploy`: replace one instance of each service, `freeze`: no more requests, and no more words after the answer. */
export type Order = 'deploy' | 'freeze';

/** What a process tells; `at` is in milliseconds of the machine's monotonic clock. */
export type Word =
  | { readonly say: 'began' | 'ready' | 'drains' | 'gone'; readonly at: number; readonly id: string; service: string }
  | {
      readonly say: 'saw';
      readonly at: number;
      readonly listed: readonly string[];
      readonly dropped: readonly string[];
    }
  | { readonly say: 'picked'; readonly count: number; readonly last: readonly (readonly [id: string, at: number])[] }
  | { readonly say: 'following' | 'behind'; readonly at: number }
  /** A registration is not as it was to be; why not. */
  | { readonly say: 'lost'; readonly at: number; readonly why: string }
  /** For so long nothing of the process ran. */
  | { readonly say: 'stalled'; readonly at: number; readonly ms: number }
  | { readonly say: 'awake' | 'deployed' | 'frozen'; readonly at: number };

/** From here on a pause between two looks is one of the process, or of the machine. */
const STALL_MS = 1_000;
const LOOK_EVERY_MS = 50;

/** Tells whenever the process did not run for a while, and for how many milliseconds. @returns ends that. */
export function onStall(tell: (ms: number) => void): () => void {
  let at = machineMs();
  const timer = setInterval(() => {
    const now = machineMs();
    if (now - at > STALL_MS) tell(Math.round(now - at));
    at = now;
  }, LOOK_EVERY_MS);
  return () => clearInterval(timer);
}

/** The machine's monotonic clock, in milliseconds. */
export function machineMs(): number {
  return Number(process.hrtime.bigint() / 1_000n) / 1_000;
}
