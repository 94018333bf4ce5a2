/**
 * The fault bed: a fault at every await point of whatever a program does with a recipe.
 *
 * An await point is a message of the client to etcd: a unary call, or one message of a watch or keepalive stream. They
 * are found by dry runs and named by what they are and their number: `Txn#2`, `Watch.create#1`. Then the scenario is run
 * once for each point and each of the {@link FAULTS}, which strikes exactly there while the message is on its way. Each
 * run has a name of its own below which it works, and these must hold:
 *
 * 1. What the actor does ends, by a result or by an EtcdError or RecipeError; nothing rejects unhandled.
 * 2. After it, while the actor's session still lives, another can do the same on the same name, at once. (Where the
 *    actor was stalled beyond its session, its keys are the server's to keep: it closes its session first.)
 * 3. When all is closed, no key with a slash after the name is left, but for those that {@link Scenario.mayStay} names.
 * 4. What the scenario itself asks for: of the way it ended (`check`), and of all that happened to the keys whose names
 *    begin with `name` (`checkHistory`).
 *
 * How to use it, in a file `await-points-<what>.etcd.test.ts`:
 *
 * ```ts
 * describeOnEtcd('Mutex at every await point', (suite) => {
 *   holdsAtEveryPoint(suite, { points: 4 }, {
 *     name: 'acquire, guard, release',
 *     run: async ({ session, etcd, name }) => {
 *       await using lock = await new Mutex(session, name).acquire();
 *       await lock.guard({ then: [etcd.op.put(`${name}-data`, String(lock.token))] });
 *       await lock.release();
 *     },
 *     checkHistory: (events, { name }) => void expectFenced(events, { queue: `${name}/`, data: `${name}-data` }),
 *   });
 * });
 * ```
 *
 * `run` is what is struck, so it has to clean up after itself when it fails (`await using`). What belongs to the scene
 * and not to the actor goes to `prepare` (before), and `alongside` (at the same time), by `stage.rival`, who is never
 * struck. `alongside` waits for the actor by `stage.entered(n)` and `stage.watching(n)`, which resolve as well when the
 * actor has ended: go on then, and clean up. Keys that begin with `name` and have no slash are free for data;
 * who needs several recipes calls them `<name>-a`, `<name>-b`.
 * `points` is how many await points every run has at least; a bed that strikes nothing fails. A run takes some 50 ms; those of
 * one scenario go eight at a time.
 */
import { randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import { RecipeError } from '../../recipes/errors.ts';
import { Etcd, EtcdError, type KeyValue } from '../../src/index.ts';
import type { EtcdSuite } from '../support/fixtures.ts';
import { FAULTS, type Fault, type Strike } from './await-point-faults.ts';
import { History, type KeyEvent, runName } from './await-point-history.ts';
import { openStage, type Stage, within } from './await-point-stage.ts';
import { Actor, hostOf, until } from './lock-bed.ts';

export type { Fault, KeyEvent, Stage, Strike };
export { FAULTS };

/** How the actor's part ended. */
export interface Ending<Result, Scene> {
  readonly result?: Result;
  readonly error?: unknown;
  readonly ok: boolean;
  /** What was done to it; undefined in dry runs and for the second actor. */
  readonly strike: Strike | undefined;
  readonly scene: Scene;
}

/** What a program does with a recipe, and what must come of it. */
export interface Scenario<Result = unknown, Scene = unknown> {
  readonly name: string;
  /** Sets the scene; its result is handed to the others. Not struck. */
  readonly prepare?: (stage: Stage) => Promise<Scene>;
  /** What the actor does, from start to end. Struck. */
  readonly run: (stage: Stage, scene: Scene) => Promise<Result>;
  /** What others do meanwhile. Not struck; must come to an end when `stage.over` has fired. */
  readonly alongside?: (stage: Stage, scene: Scene) => Promise<void>;
  /** Called when the actor has ended; throws what is wrong with that. */
  readonly check?: (ending: Ending<Result, Scene>, stage: Stage) => void | Promise<void>;
  /** Called in the end with all that happened to the keys that begin with the name; throws what is wrong with it. */
  readonly checkHistory?: (events: readonly KeyEvent[], stage: Stage) => void;
  /** What the second actor does on the same name. Default: the whole scenario again; it must succeed. */
  readonly again?: (stage: Stage) => Promise<void>;
  /** Which keys below `<name>/` may stay in the end (`key` is without that prefix, or `-b/…` of `<name>-b/…`). Default: none. */
  readonly mayStay?: (key: string) => boolean;
  /** Which keys an operator deletes. Default: those on a lease of the actor's. */
  readonly mine?: (kv: KeyValue<string>) => boolean;
  /** Time to live of the actor's session, in seconds, and of those it opens itself. Default 30. */
  readonly ttlSeconds?: number;
}

/** What came of it. */
export interface Report {
  readonly points: readonly string[];
  /** Runs in which the fault struck. */
  readonly struck: number;
  /** How many of those ended by a result; the others by an error. */
  readonly succeeded: number;
  /** Strikes that found no such message, in three tries: not every run has it. */
  readonly missed: readonly string[];
  /** What did not hold, each with where it was struck. */
  readonly failures: readonly string[];
}

const RUN_MS = 25_000;
const PROMPT_MS = 10_000;
const SETTLE_MS = 10_000;
const AT_A_TIME = 8;
const TRIES = 3;

/** Defines a test: the scenario holds at every await point, of which there are at least `points`. */
export function holdsAtEveryPoint<Result, Scene>(
  suite: EtcdSuite,
  { points }: { readonly points: number },
  scenario: Scenario<Result, Scene>,
): void {
  // Every one on the newer version; there is little between the two that a recipe could tell.
  const every = suite.version === '3.4' && process.env['ETCDKIT_AWAIT_POINTS'] !== 'all' ? 3 : 1;
  it(`${scenario.name}: struck at every await point`, { timeout: 180_000 }, async ({ annotate }) => {
    const report = await strikeEveryPoint(suite, scenario, { every });
    expect(report.failures).toEqual([]);
    expect(report.struck).toBeGreaterThanOrEqual(Math.floor((points * FAULTS.length) / every));
    const missed = report.missed.length === 0 ? '' : `; missed: ${report.missed.join(', ')}`;
    await annotate(
      `${report.struck} cases, ${report.succeeded} succeeded; points: ${report.points.join(' ')}${missed}`,
    );
  });
}

/** Runs a scenario once for each await point and fault. Does not throw for what does not hold: see the report. */
export async function strikeEveryPoint<Result, Scene>(
  suite: EtcdSuite,
  scenario: Scenario<Result, Scene>,
  {
    faults = FAULTS,
    runMs = RUN_MS,
    every = 1,
  }: { readonly faults?: readonly Fault[]; readonly runMs?: number; readonly every?: number } = {},
): Promise<Report> {
  await using bed = await Bed.open(suite, scenario, runMs);
  return await bed.strike(faults, every);
}

/** All runs of one scenario. */
class Bed<Result, Scene> implements AsyncDisposable {
  readonly #suite: EtcdSuite;
  readonly #scenario: Scenario<Result, Scene>;
  readonly #runMs: number;
  readonly #base = `ap${randomBytes(5).toString('hex')}`;
  readonly #operator: Actor;
  readonly #rivals: Etcd;
  readonly #history: History;
  readonly #failures: string[] = [];
  readonly #missed: string[] = [];
  #names = 0;
  #struck = 0;
  #succeeded = 0;

  private constructor(suite: EtcdSuite, scenario: Scenario<Result, Scene>, runMs: number, operator: Actor) {
    this.#suite = suite;
    this.#scenario = scenario;
    this.#runMs = runMs;
    this.#operator = operator;
    this.#rivals = new Etcd({ endpoints: [hostOf(suite)] });
    this.#history = new History(operator.etcd, this.#base);
    process.on('unhandledRejection', this.#onUnhandled);
  }

  static async open<Result, Scene>(
    suite: EtcdSuite,
    scenario: Scenario<Result, Scene>,
    runMs: number,
  ): Promise<Bed<Result, Scene>> {
    const bed = new Bed(suite, scenario, runMs, await Actor.open(suite.cluster.endpoints));
    await bed.#history.started();
    return bed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    process.off('unhandledRejection', this.#onUnhandled);
    this.#history.close();
    await this.#rivals.close();
    await this.#operator[Symbol.asyncDispose]();
  }

  /** Strikes at every point with every fault, or with each nth of these pairs. */
  async strike(faults: readonly Fault[], every: number): Promise<Report> {
    const points = await this.#dryRuns();
    const strikes = faults
      .flatMap((fault) => points.map((point) => ({ point, fault })))
      .filter((_, index) => index % every === 0);
    // A compaction is everybody's: those runs have the store to themselves.
    const compacting = ({ fault }: Strike): boolean => fault.startsWith('compacted');
    for (const batch of [strikes.filter((each) => !compacting(each)), strikes.filter(compacting)]) {
      const queue = [...batch];
      const worker = async (): Promise<void> => {
        for (let next = queue.shift(); next !== undefined; next = queue.shift()) await this.#strikeOnce(next);
      };
      await Promise.all(Array.from({ length: AT_A_TIME }, worker));
    }
    return {
      points,
      struck: this.#struck,
      succeeded: this.#succeeded,
      missed: this.#missed,
      failures: this.#failures,
    };
  }

  /** The points that every run comes to. A scenario that fails without a fault is a mistake in the scenario. */
  async #dryRuns(): Promise<string[]> {
    const seen: (readonly string[])[] = [];
    for (let run = 0; run < 2; run++) {
      const { points, ending, wrong } = await this.#run(undefined);
      if (ending?.error !== undefined) throw new Error('the scenario fails without a fault', { cause: ending.error });
      if (wrong.length > 0) throw new Error(`does not hold without a fault: ${wrong.join('; ')}`);
      seen.push(points);
    }
    return (seen[0] ?? []).filter((point) => seen.every((points) => points.includes(point)));
  }

  async #strikeOnce(strike: Strike): Promise<void> {
    const where = `${strike.fault} at ${strike.point}`;
    for (let tries = 0; tries < TRIES; tries++) {
      const { struck, ending, wrong } = await this.#run(strike).catch((error: unknown) => ({
        struck: true,
        ending: undefined,
        wrong: [`the bed failed: ${describe(error)}`],
      }));
      this.#failures.push(...wrong.map((what) => `${where}: ${what}`));
      if (!struck && wrong.length === 0) continue;
      this.#struck++;
      if (ending?.ok) this.#succeeded++;
      return;
    }
    this.#missed.push(where);
  }

  async #run(strike: Strike | undefined): Promise<{
    readonly points: readonly string[];
    readonly struck: boolean;
    readonly ending: Ending<Result, Scene> | undefined;
    readonly wrong: string[];
  }> {
    const scenario = this.#scenario;
    const name = runName(this.#base, ++this.#names);
    const wrong: string[] = [];
    const note = async (what: string, limitMs: number, work: () => Promise<unknown>): Promise<void> => {
      await within(limitMs, work()).catch((error: unknown) => void wrong.push(`${what}: ${describe(error)}`));
    };
    const settings = {
      target: hostOf(this.#suite),
      name,
      operator: this.#operator.etcd,
      rivals: this.#rivals,
      ttlSeconds: scenario.ttlSeconds ?? 30,
    };
    await using first = await openStage({ ...settings, strike, mine: scenario.mine });
    const ending = await this.#play(first, strike, wrong);
    if (strike?.fault === 'stalled') await note('closing the session', SETTLE_MS, () => first.session.close());
    if (ending !== undefined) {
      await note('the ending', SETTLE_MS, async () => {
        await scenario.check?.(ending, first);
      });
    }
    await note('the second actor', PROMPT_MS, () => this.#again(settings));
    await note('closing', SETTLE_MS, async () => first[Symbol.asyncDispose]());
    await note('left behind', SETTLE_MS, () => this.#untilClean(name));
    await note('the history', SETTLE_MS, async () => scenario.checkHistory?.(await this.#history.of(name), first));
    return { points: first.points, struck: first.struck, ending, wrong };
  }

  /** The scenario, once. What does not hold is added to `wrong`; undefined when it did not come to an end. */
  async #play(
    stage: Awaited<ReturnType<typeof openStage>>,
    strike: Strike | undefined,
    wrong: string[],
  ): Promise<Ending<Result, Scene> | undefined> {
    const { prepare, run, alongside } = this.#scenario;
    const scene = (await prepare?.(stage)) as Scene;
    stage.arm();
    const others = alongside?.(stage, scene) ?? Promise.resolve();
    others.catch(() => {});
    const ended = run(stage, scene).then(
      (result): Ending<Result, Scene> => ({ ok: true, result, strike, scene }),
      (error: unknown): Ending<Result, Scene> => ({ ok: false, error, strike, scene }),
    );
    let ending: Ending<Result, Scene> | undefined;
    try {
      ending = await within(this.#runMs, ended);
    } catch {
      wrong.push(`the actor has not ended after ${this.#runMs} ms`);
    }
    stage.disarm();
    await stage.deliverLate();
    if (stage.failure !== undefined) wrong.push(`the strike failed: ${describe(stage.failure)}`);
    await within(RUN_MS, others).catch((error: unknown) => void wrong.push(`the others: ${describe(error)}`));
    if (ending?.ok === false && !isOurs(ending.error))
      wrong.push(`ended by no error of ours: ${describe(ending.error)}`);
    return ending;
  }

  async #again(settings: Parameters<typeof openStage>[0]): Promise<void> {
    await using second = await openStage({ ...settings, direct: true });
    if (this.#scenario.again !== undefined) return await this.#scenario.again(second);
    const wrong: string[] = [];
    const ending = await this.#play(second, undefined, wrong);
    if (ending?.ok === false) throw ending.error;
    if (ending !== undefined) await this.#scenario.check?.(ending, second);
    if (wrong.length > 0) throw new Error(wrong.join('; '));
  }

  async #untilClean(name: string): Promise<void> {
    const { mayStay = () => false } = this.#scenario;
    const ofRecipe = (key: string): boolean => key.includes('/') && !mayStay(key.replace(/^\//, ''));
    let left: string[] = [];
    const stop = performance.now() + SETTLE_MS / 2;
    await until(async () => {
      const { kvs } = await this.#operator.etcd.range({ prefix: name }, { keysOnly: true });
      left = kvs.map(({ key }) => key.slice(name.length)).filter(ofRecipe);
      return left.length === 0 || performance.now() > stop;
    });
    if (left.length > 0) throw new Error(left.join(', '));
  }

  readonly #onUnhandled = (reason: unknown): void => {
    this.#failures.push(`a rejection that nobody handled: ${describe(reason)}`);
  };
}

function isOurs(error: unknown): boolean {
  return error instanceof EtcdError || error instanceof RecipeError;
}

function describe(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}
