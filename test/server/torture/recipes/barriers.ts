/** The barrier and the latch: nobody passes before it is open. */
import { Barrier } from '../../../../recipes/barrier.ts';
import { Latch } from '../../../../recipes/latch.ts';
import type { Session } from '../../../../recipes/session.ts';
import type { KeyEvent } from '../../../recipes/await-point-history.ts';
import { isPlace } from './fence.ts';
import { byRevision } from './revisions.ts';
import { type Field, many, rest, shifts, Work } from './work.ts';

/** One shuts a barrier again and again, holding it or for good; others wait at it. */
export class Barring extends Work {
  /** Waits that have ended: the revisions of a write just before each, and of one just after. */
  readonly passes: { readonly from: bigint; readonly to: bigint }[] = [];
  #shut = 0;

  constructor() {
    super('barrier');
  }

  override users(field: Field): Promise<void>[] {
    const { stop } = field;
    return [
      shifts(field, stop, (session) => {
        const barrier = new Barrier(session, this.name);
        return () => this.#shutIt(barrier, stop);
      }),
      ...many(2, (i) => shifts(field, stop, (session) => () => this.#wait(session, `${this.name}-waiters/${i}`, stop))),
    ];
  }

  async #shutIt(barrier: Barrier, signal: AbortSignal): Promise<void> {
    // What a closing has left of which nobody knew, or a holder whose session was lost.
    await barrier.open({ signal });
    await barrier.wait({ signal });
    this.#shut += 1;
    if (this.#shut % 3 === 0) {
      const token = await barrier.close();
      await rest();
      await barrier.open({ token });
    } else {
      await using held = await barrier.hold();
      await rest();
      await held.release();
    }
    await rest();
  }

  async #wait(session: Session, key: string, signal: AbortSignal): Promise<void> {
    const { revision: from } = await session.etcd.put(key, 'comes');
    await new Barrier(session, this.name).wait({ signal });
    const { revision: to } = await session.etcd.put(key, 'goes');
    this.passes.push({ from, to });
    this.done += 1;
  }

  override broken(events: readonly KeyEvent[]): string[] {
    const shut: { readonly from: bigint; readonly to: bigint }[] = [];
    /** Since when each key has shut it. */
    const since = new Map<string, bigint>();
    for (const event of events) {
      const { type, key, revision } = event;
      const from = since.get(key);
      if (type === 'put' && from === undefined) {
        if (key === `${this.name}/closed` || isPlace(event, [`${this.name}/holder/`])) since.set(key, revision);
      } else if (type === 'delete' && from !== undefined) {
        since.delete(key);
        shut.push({ from, to: revision });
      }
    }
    for (const from of since.values()) shut.push({ from, to: NEVER });
    const found = this.passes.length > 0 && shut.length === 0 ? [`${this.name} was never shut`] : [];
    for (const { from, to } of this.passes) {
      const through = shut.find((each) => each.from <= from && each.to > to);
      if (through)
        found.push(`${this.name}: one passed from ${from} to ${to}, and it was shut from ${through.from} on`);
    }
    return found;
  }
}

const NEVER = 2n ** 63n;

const PARTIES = 3;

/** One latch after another, each of which opens when every user has counted down. */
export class Latching extends Work {
  constructor() {
    super('latch');
  }

  override users(field: Field): Promise<void>[] {
    return many(PARTIES, async (i) => {
      let n = 0;
      await shifts(field, field.stop, (session) => async () => {
        // What was done of it under the session before does not count again.
        const latch = new Latch(session, `${this.name}-${n}`);
        await latch.create(PARTIES);
        await latch.countDown({ id: `user ${i}` });
        await latch.wait({ signal: field.stop });
        await session.etcd.put(`${this.name}-passed/${i}`, String(n));
        n += 1;
        this.done += 1;
        await rest();
      });
    });
  }

  override broken(events: readonly KeyEvent[]): string[] {
    const found: string[] = [];
    const left = new Map<string, number>();
    const remaining = new RegExp(`^${this.name}-(\\d+)/remaining$`);
    for (const { revision, puts } of byRevision(events)) {
      for (const { key, value } of puts) {
        const n = remaining.exec(key)?.[1];
        if (n !== undefined) {
          const prefix = `${this.name}-${n}/`;
          const before = left.get(n) ?? PARTIES + 1;
          left.set(n, Number(value));
          const marks = puts.filter((put) => put.key.startsWith(`${prefix}done/`) && put.createRevision === revision);
          const opened = puts.some((put) => put.key === `${prefix}open`);
          const fits = marks.length === (before > PARTIES ? 0 : 1) && opened === (value === '0');
          if (!fits || Number(value) !== before - 1)
            found.push(`${key} goes from ${before} to ${value} at ${revision} by ${marks.length}`);
        }
        if (key.startsWith(`${this.name}-passed/`) && left.get(value) !== 0)
          found.push(`${this.name}-${value}: one passed before ${revision}, with ${left.get(value)} to come`);
      }
    }
    return found;
  }
}
