/** Locks, elections and permits: who writes under its guard held at that revision, by the keys alone. */
import { Election } from '../../../../recipes/election/election.ts';
import type { Held } from '../../../../recipes/held.ts';
import { Mutex } from '../../../../recipes/mutex.ts';
import { RWMutex } from '../../../../recipes/rwmutex.ts';
import { Semaphore } from '../../../../recipes/semaphore.ts';
import type { Session } from '../../../../recipes/session.ts';
import type { KeyEvent } from '../../../recipes/await-point-history.ts';
import { type Fence, type Place, unfenced } from './fence.ts';
import { type Field, many, rest, shifts, Work } from './work.ts';

/** Something that is held by one, or by some, of several users. */
abstract class Locking extends Work {
  readonly #count: number;

  constructor(name: string, count: number) {
    super(name);
    this.#count = count;
  }

  override users(field: Field): Promise<void>[] {
    return many(this.#count, (i) =>
      shifts(field, field.stop, (session) => async () => {
        await this.turn(session, i, field.stop);
        await rest();
      }),
    );
  }

  /** Gets it, writes under its guard, gives it back. */
  protected abstract turn(session: Session, user: number, signal: AbortSignal): Promise<void>;

  /** Says under a guard who holds. */
  protected async say({ etcd }: Session, held: Held): Promise<void> {
    await held.guard({ then: [etcd.op.put(this.fence.data, String(held.token))] });
    this.done += 1;
  }

  protected get fence(): Fence {
    return { data: `${this.name}-data`, queues: [`${this.name}/`] };
  }

  override broken(events: readonly KeyEvent[]): string[] {
    const { data } = this.fence;
    const found = unfenced(events, this.fence);
    const writes = events.filter(({ type, key }) => type === 'put' && key === data).length;
    if (writes < this.done) found.push(`${data}: ${this.done} writes were acknowledged, and there are ${writes}`);
    return found;
  }
}

export class Excluding extends Locking {
  constructor() {
    super('lock', 3);
  }

  protected override async turn(session: Session, _user: number, signal: AbortSignal): Promise<void> {
    await using held = await new Mutex(session, this.name).acquire({ signal });
    await this.say(session, held);
    await held.release();
  }
}

export class Electing extends Locking {
  /** Who led, by term. */
  readonly leaders = new Map<bigint, Set<string>>();

  constructor() {
    super('election', 3);
  }

  protected override async turn(session: Session, user: number, signal: AbortSignal): Promise<void> {
    const value = `candidate ${user}`;
    await using leader = await new Election(session, this.name).campaign({ value, signal });
    const leaders = this.leaders.get(leader.term) ?? new Set();
    this.leaders.set(leader.term, leaders.add(value));
    await leader.kv.put(this.fence.data, String(leader.term));
    this.done += 1;
    await leader.resign();
  }

  override broken(events: readonly KeyEvent[]): string[] {
    const shared = [...this.leaders].filter(([, who]) => who.size > 1);
    return [...super.broken(events), ...shared.map(([term, who]) => `term ${term} is led by ${[...who]}`)];
  }
}

/** Half of the users read, half write; every other writer goes on as a reader. */
export class ReadingAndWriting extends Locking {
  #written = 0;

  constructor() {
    super('rwmutex', 4);
  }

  protected override async turn(session: Session, user: number, signal: AbortSignal): Promise<void> {
    const mutex = new RWMutex(session, this.name);
    if (user % 2 === 0) {
      await using reader = await mutex.acquireRead({ signal });
      await this.#read(session, reader);
      return;
    }
    await using writer = await mutex.acquireWrite({ signal });
    await this.say(session, writer);
    this.#written += 1;
    if (this.#written % 2 === 0) return await writer.release();
    await using reader = await writer.downgrade();
    await this.#read(session, reader);
  }

  async #read(session: Session, reader: Held): Promise<void> {
    await this.say(session, reader);
    // For others to read meanwhile, or to try to write.
    await rest();
    await this.say(session, reader);
    await reader.release();
  }

  protected override get fence(): Fence {
    const { name } = this;
    const isWriter = ({ key, value }: Place): boolean =>
      key.startsWith(`${name}/write/`) && (JSON.parse(value) as { mode?: string }).mode !== 'read';
    return {
      data: `${name}-data`,
      queues: [`${name}/read/`, `${name}/write/`],
      holds: (place, older) => (isWriter(place) ? older.length === 0 : !older.some(isWriter)),
    };
  }
}

const LIMIT = 3;

/** Users that want one permit, or two. */
export class Permitting extends Locking {
  constructor() {
    super('semaphore', 4);
  }

  protected override async turn(session: Session, user: number, signal: AbortSignal): Promise<void> {
    const semaphore = new Semaphore(session, this.name, { limit: LIMIT });
    await using held = await semaphore.acquire({ permits: 1 + (user % 2), signal });
    await this.say(session, held);
    // For others to hold meanwhile.
    await rest();
    await this.say(session, held);
    await held.release();
  }

  protected override get fence(): Fence {
    const { name } = this;
    const permitsOf = ({ value }: Place): number => (JSON.parse(value) as { permits: number }).permits;
    return {
      data: `${name}-data`,
      queues: [`${name}/permits/`],
      holds: (place, older) => [place, ...older].reduce((sum, each) => sum + permitsOf(each), 0) <= LIMIT,
    };
  }
}
