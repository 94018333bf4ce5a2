/**
 * How a member is: `/health`, which orchestrators of etcd have always asked, and `/livez` and `/readyz` with their
 * checks, which tell a restart apart from patience.
 *
 * `/livez` fails when only a restart can help, `/readyz` when requests would fail here. A full database is neither.
 * Every check ends within a bound.
 *
 * @module
 */
import type { Clock } from '../../support/clock.ts';
import type { ServingMember } from '../member/serving.ts';
import { Refusals, RpcError } from '../refusals.ts';
import { type Exchange, PLAIN_TEXT } from './exchange.ts';

const NOSPACE = 1;
const CORRUPT = 2;

/** Hears how checks go: for metrics. */
export interface HealthObserver {
  /** Of `/health`. */
  checked(healthy: boolean): void;
  /** Of one check of `/livez` or `/readyz`. */
  check(type: 'livez' | 'readyz', name: string, healthy: boolean): void;
}

/** What {@link Health} needs. */
export interface HealthOptions {
  readonly member: ServingMember;
  readonly clock: Clock;
  /** How long a check may take. */
  readonly timeoutMs: number;
  readonly observer: HealthObserver;
}

/** Throws, with why, when something is wrong. */
type Check = () => Promise<void> | void;

/** See the head of this file. */
export class Health {
  readonly #options: HealthOptions;
  readonly #checks: Readonly<Record<'livez' | 'readyz', ReadonlyMap<string, Check>>>;

  constructor(options: HealthOptions) {
    this.#options = options;
    const { member } = options;
    const readLocal: [string, Check] = ['serializable_read', () => void member.state.store.revision];
    this.#checks = {
      livez: new Map([readLocal]),
      readyz: new Map<string, Check>([
        ['data_corruption', () => this.#expectNoAlarm(CORRUPT, 'alarm activated: CORRUPT')],
        readLocal,
        ['linearizable_read', () => this.#linearize()],
        [
          'non_learner',
          () => {
            if (member.position.isLearner) throw new Error('local member is a learner');
          },
        ],
      ]),
    };
  }

  /** Answers `/health`. */
  async health(exchange: Exchange): Promise<void> {
    const excluded = new Set(exchange.query.getAll('exclude').filter((name) => name !== ''));
    const reason = await this.#whyUnhealthy(excluded, exchange.query.get('serializable') === 'true');
    this.#options.observer.checked(reason === '');
    const body = JSON.stringify({ health: reason === '' ? 'true' : 'false', reason });
    exchange.respond(reason === '' ? 200 : 503, { 'Content-Type': PLAIN_TEXT['Content-Type'] as string }, body);
  }

  async #whyUnhealthy(excluded: ReadonlySet<string>, serializable: boolean): Promise<string> {
    const { member } = this.#options;
    const { alarms } = member.state;
    if (alarms.has(NOSPACE) && !excluded.has('NOSPACE')) return 'ALARM NOSPACE';
    if (alarms.has(CORRUPT) && !excluded.has('CORRUPT')) return 'ALARM CORRUPT';
    if (serializable) return '';
    if (member.position.leader === 0n) return 'RAFT NO LEADER';
    try {
      await this.#linearize();
      return '';
    } catch (error) {
      return `RANGE ERROR:${textOf(error)}`;
    }
  }

  /** Answers `/livez`, `/readyz` and one check of either; undefined if there is no such check. */
  serve(exchange: Exchange, type: 'livez' | 'readyz', name: string | undefined): Promise<void> | undefined {
    const checks = this.#checks[type];
    if (name === undefined) return this.#run(exchange, type, checks);
    const check = checks.get(name);
    return check === undefined ? undefined : this.#run(exchange, type, new Map([[name, check]]));
  }

  async #run(exchange: Exchange, type: 'livez' | 'readyz', checks: ReadonlyMap<string, Check>): Promise<void> {
    const excluded = new Set(exchange.query.getAll('exclude'));
    const wanted = [...checks].filter(([name]) => !excluded.has(name));
    const lines = await Promise.all(wanted.map(([name, check]) => this.#line(type, name, check)));
    const healthy = lines.every((line) => line.startsWith('[+]'));
    const text = lines.map((line) => `${line}\n`).join('');
    if (!healthy) exchange.refuse(503, text);
    else exchange.respond(200, PLAIN_TEXT, `${exchange.query.has('verbose') ? text : ''}ok\n`);
  }

  async #line(type: 'livez' | 'readyz', name: string, check: Check): Promise<string> {
    try {
      await check();
      this.#options.observer.check(type, name, true);
      return `[+]${name} ok`;
    } catch (error) {
      this.#options.observer.check(type, name, false);
      return `[-]${name} failed: ${textOf(error)}`;
    }
  }

  #expectNoAlarm(type: number, text: string): void {
    if (this.#options.member.state.alarms.has(type)) throw new Error(text);
  }

  /** Reads as if through consensus, within the bound. */
  async #linearize(): Promise<void> {
    const { member, clock, timeoutMs } = this.#options;
    const controller = new AbortController();
    const timer = clock.after(timeoutMs, () => controller.abort(new RpcError(Refusals.Timeout)), { background: true });
    try {
      await member.linearize(controller.signal);
    } catch (error) {
      throw controller.signal.aborted ? controller.signal.reason : error;
    } finally {
      timer.cancel();
    }
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : 'unknown';
}
