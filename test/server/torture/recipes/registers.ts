/** Keys that one user each writes and reads: nothing acknowledged is lost, and nothing refused is written. */
import { type Etcd, EtcdError } from '../../../../src/index.ts';
import type { KeyEvent } from '../../../recipes/await-point-history.ts';
import { attempt, type Field, many, rest, Work } from './work.ts';

/** What became of the numbers of one register. */
export interface Written {
  readonly acknowledged: number[];
  /** They may be written at any time, as by a member that was stopped. */
  readonly unknown: Set<number>;
  /** Refused for good. */
  readonly refused: Set<number>;
}

export class Registers extends Work {
  /** By key. */
  readonly written = new Map<string, Written>();

  constructor() {
    super('registers');
  }

  override users(field: Field): Promise<void>[] {
    return many(3, (i) => this.#write(field, `${this.name}/${i}`));
  }

  /** Writes one number after the other, and reads what it finds: what was acknowledged last, or what nobody knows of. */
  async #write(field: Field, key: string): Promise<void> {
    const etcd = field.nextClient();
    const written: Written = { acknowledged: [], unknown: new Set(), refused: new Set() };
    this.written.set(key, written);
    for (let n = 1; !field.stop.aborted; n += 1) {
      const error = await attempt(async () => {
        await etcd.put(key, String(n));
        written.acknowledged.push(n);
        this.done += 1;
      });
      if (error) (error instanceof EtcdError && error.applied === 'no' ? written.refused : written.unknown).add(n);
      await attempt(() => this.#read(etcd, key, written));
      await rest();
    }
  }

  async #read(etcd: Etcd, key: string, { acknowledged, unknown }: Written): Promise<void> {
    const found = Number((await etcd.get(key))?.value ?? 0);
    const last = acknowledged.at(-1) ?? 0;
    if (found !== last && !unknown.has(found)) this.wrong.push(`${key} is ${found} after ${last}`);
  }

  override broken(events: readonly KeyEvent[]): string[] {
    const found: string[] = [];
    for (const [key, { acknowledged, unknown, refused }] of this.written) {
      const values = events.filter((event) => event.key === key && event.type === 'put').map(({ value }) => +value);
      const there = new Set(values);
      for (const n of acknowledged) if (!there.has(n)) found.push(`${key}: ${n} was acknowledged and is lost`);
      for (const n of refused) if (there.has(n)) found.push(`${key}: ${n} was refused and is written`);
      if (there.size < values.length) found.push(`${key}: written twice: ${values}`);
      // One of which nobody knows may come at any time.
      const known = values.filter((value) => !unknown.has(value));
      if (known.some((value, i) => i > 0 && value < (known[i - 1] as number)))
        found.push(`${key}: written in another order: ${known}`);
    }
    return found;
  }
}
