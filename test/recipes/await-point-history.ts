/** Everything that happens to the keys of a bed, in order, by one watch of its own. */
import { EventEmitter, once } from 'node:events';
import type { ChangeEvent, Etcd, LeaseId, Revision } from '../../src/index.ts';

/** One change of a key. */
export interface KeyEvent {
  readonly type: 'put' | 'delete';
  readonly key: string;
  readonly revision: Revision;
  /** Of a put. */
  readonly value: string;
  readonly createRevision: Revision;
  readonly lease: LeaseId | undefined;
}

/** What a watch tells, as a history has it. */
export function toKeyEvent({ type, kv }: ChangeEvent): KeyEvent {
  const gone = type === 'delete';
  return {
    type,
    key: kv.key,
    revision: kv.modRevision,
    value: gone ? '' : kv.value,
    createRevision: gone ? (0n as Revision) : kv.createRevision,
    lease: gone ? undefined : kv.lease,
  };
}

/** What the keys of one run begin with; no run's name is the beginning of another's. */
export function runName(base: string, run: number): string {
  return `${base}-${run}z`;
}

export class History {
  readonly #etcd: Etcd;
  readonly #base: string;
  readonly #stop = new AbortController();
  readonly #events = new Map<string, KeyEvent[]>();
  readonly #changes = new EventEmitter().setMaxListeners(0);
  readonly #ended: Promise<void>;
  #failure: unknown;

  /** Of the keys that begin with `base`; which all have a {@link runName}. */
  constructor(etcd: Etcd, base: string) {
    this.#etcd = etcd;
    this.#base = base;
    this.#ended = this.#follow().catch((error: unknown) => {
      if (!this.#stop.signal.aborted) this.#failure = error;
      this.#changes.emit('change');
    });
  }

  /** Resolves when it sees what happens. */
  async started(): Promise<void> {
    await this.of(runName(this.#base, 0));
  }

  /** All that has happened so far to the keys of a name. */
  async of(name: string): Promise<readonly KeyEvent[]> {
    const { revision } = await this.#etcd.put(`${name}!end`, '');
    for (;;) {
      if (this.#failure !== undefined) throw new Error('the history broke off', { cause: this.#failure });
      const events = this.#events.get(name) ?? [];
      if (events.some((event) => event.revision >= revision)) return events.filter(({ key }) => !key.includes('!'));
      await once(this.#changes, 'change');
    }
  }

  close(): void {
    this.#stop.abort();
    this.#changes.emit('change');
    void this.#ended;
  }

  async #follow(): Promise<void> {
    const name = new RegExp(`^${this.#base}-\\d+z`);
    const { signal } = this.#stop;
    const from = await this.#etcd.revision();
    for await (const event of this.#etcd.watch({ prefix: this.#base }, { from, signal })) {
      if (event.type !== 'put' && event.type !== 'delete') continue;
      const { kv } = event;
      const of = name.exec(kv.key)?.[0] ?? '';
      const events = this.#events.get(of) ?? [];
      this.#events.set(of, events);
      events.push(toKeyEvent(event));
      this.#changes.emit('change');
    }
  }
}
