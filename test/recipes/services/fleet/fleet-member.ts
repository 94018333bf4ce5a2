/** A process of the fleet, as the one who commands it has it: what it is told, and what it says, as history. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { FaultProxy } from '../../../support/fault-proxy.ts';
import { tieProcess } from '../../../support/lifeline.ts';
import type { Life, Observer } from './history.ts';
import { machineMs, type Order, type Plan, type Word } from './words.ts';

/** What all processes of a fleet write their history into. */
export interface Chronicle {
  readonly lives: Map<string, Life>;
  readonly observers: Observer[];
  picks: number;
  /** When registrations were lost, and why. */
  readonly losses: { readonly at: number; readonly why: string }[];
  /** The longest time in which a process, or the one who commands it, did not run, in milliseconds; above a second. */
  longestStallMs: number;
}

type Answer = 'awake' | 'deployed' | 'frozen';

/** See the head of this file. */
export class FleetMember {
  /** How many instances of each service it has. */
  readonly services: Readonly<Record<string, number>>;
  readonly observer: Observer;
  readonly #child: ChildProcess;
  readonly #window: FaultProxy;
  readonly #chronicle: Chronicle;
  readonly #own: Life[] = [];
  readonly #closed: Promise<unknown>;
  readonly #waiting = new Map<Answer, (at: number) => void>();
  #killed = false;

  private constructor(child: ChildProcess, window: FaultProxy, plan: Plan, chronicle: Chronicle) {
    this.#child = child;
    this.#window = window;
    this.services = plan.services;
    this.#chronicle = chronicle;
    const until = Number.POSITIVE_INFINITY;
    this.observer = { name: plan.label, until, sightings: [], picks: [], follows: [], cuts: [] };
    chronicle.observers.push(this.observer);
    // It comes after the last line was read.
    this.#closed = once(child, 'close');
    if (child.stdout === null) throw new Error('a child without output');
    createInterface({ input: child.stdout }).on('line', (line) => this.#take(JSON.parse(line) as Word));
  }

  /** Starts one, and waits until its instances are registered and it has a list of every service. */
  static async start(plan: Omit<Plan, 'window'>, chronicle: Chronicle): Promise<FleetMember> {
    const window = await FaultProxy.start({ target: plan.store });
    const whole: Plan = { ...plan, window: window.address };
    const script = path.join(import.meta.dirname, 'children', 'fleet-process.ts');
    const args = ['--import', 'tsx', script, JSON.stringify(whole)];
    const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    tieProcess(child);
    child.stdin.on('error', () => {});
    const member = new FleetMember(child, window, whole, chronicle);
    try {
      await member.#answer('awake');
    } catch (error) {
      await member.kill();
      throw error;
    }
    return member;
  }

  /** Replaces one of its instances of each service by a new one; resolves when the old ones are gone. */
  async deploy(): Promise<void> {
    await this.#order('deploy', 'deployed');
  }

  /** Ends its history; its instances live on until it is killed. */
  async freeze(): Promise<void> {
    this.observer.until = await this.#order('freeze', 'frozen');
  }

  /** SIGKILL. Resolves when all that it has said is in the history. */
  async kill(): Promise<void> {
    if (this.#killed) return;
    this.#killed = true;
    const at = machineMs();
    this.#child.kill('SIGKILL');
    await this.#closed;
    this.observer.until = Math.min(this.observer.until, at);
    for (const life of this.#own) {
      if (life.goneAt !== undefined) continue;
      life.goneAt = at;
      life.how = 'killed';
    }
    await this.#window[Symbol.asyncDispose]();
  }

  /** Cuts its discoveries off the store for as long as something takes. Its instances are not. */
  async cutDuring(work: () => Promise<void>): Promise<void> {
    const from = machineMs();
    this.#window.refuse();
    this.#window.reset();
    await work();
    await this.#window.accept();
    this.observer.cuts.push({ from, until: machineMs() });
  }

  #order(order: Order, answer: Answer): Promise<number> {
    this.#child.stdin?.write(`${order}\n`);
    return this.#answer(answer);
  }

  async #answer(answer: Answer): Promise<number> {
    const answered = new Promise<number>((resolve) => this.#waiting.set(answer, resolve));
    const ended = this.#closed.then(() => {
      throw new Error(`${this.observer.name} ended before it was ${answer}`);
    });
    ended.catch(() => {}); // it may well end later
    return Promise.race([answered, ended]);
  }

  #take(word: Word): void {
    const { observer } = this;
    switch (word.say) {
      case 'began':
      case 'ready':
      case 'drains':
      case 'gone':
        return this.#takeLife(word);
      case 'saw':
        for (const id of word.listed) observer.sightings.push({ id, at: word.at, listed: true });
        for (const id of word.dropped) observer.sightings.push({ id, at: word.at, listed: false });
        return;
      case 'picked':
        this.#chronicle.picks += word.count;
        for (const [id, at] of word.last) observer.picks.push({ id, at });
        return;
      case 'following':
      case 'behind':
        observer.follows.push({ at: word.at, following: word.say === 'following' });
        return;
      case 'lost':
        this.#chronicle.losses.push(word);
        return;
      case 'stalled':
        this.#chronicle.longestStallMs = Math.max(this.#chronicle.longestStallMs, word.ms);
        return;
      case 'awake':
        observer.from = word.at;
        break;
      case 'deployed':
      case 'frozen':
        break;
    }
    this.#waiting.get(word.say)?.(word.at);
    this.#waiting.delete(word.say);
  }

  #takeLife(word: Extract<Word, { service: string }>): void {
    const { lives } = this.#chronicle;
    const { id, service, at, say } = word;
    const life = lives.get(id) ?? { id, service, beganAt: at };
    if (say === 'began') {
      lives.set(id, life);
      this.#own.push(life);
    } else if (say === 'ready') life.readyAt = at;
    else if (say === 'drains') life.drainsAt = at;
    else {
      life.goneAt = at;
      life.how = 'drained';
    }
  }
}
