/**
 * The double barrier: a round begins for all its places at one revision, nobody is inside before that, and nobody has
 * left while another is inside.
 */
import { DoubleBarrier } from '../../../../recipes/double-barrier.ts';
import type { Session } from '../../../../recipes/session.ts';
import type { KeyEvent } from '../../../recipes/await-point-history.ts';
import { isPlace } from './fence.ts';
import { byRevision } from './revisions.ts';
import { type Field, many, rest, shifts, Work } from './work.ts';

const COUNT = 2;

/** What a place says of itself. */
interface Said {
  readonly round?: string | undefined;
  readonly left?: boolean | undefined;
}

/** More users than a round takes: who meets whom changes, and some come late. */
export class Gathering extends Work {
  constructor() {
    super('double-barrier');
  }

  override users(field: Field): Promise<void>[] {
    return many(COUNT + 1, () =>
      shifts(field, field.stop, (session) => {
        const barrier = new DoubleBarrier(session, this.name, { count: COUNT });
        return () => this.#takePart(session, barrier, field.stop);
      }),
    );
  }

  async #takePart({ etcd }: Session, barrier: DoubleBarrier, signal: AbortSignal): Promise<void> {
    await using inside = await barrier.enter({ signal });
    const round = String(inside.round);
    await inside.guard({ then: [etcd.op.put(`${this.name}-inside`, round)] });
    // Others who are inside leave too, or their sessions end.
    await inside.leave();
    await etcd.put(`${this.name}-left`, round);
    this.done += 1;
    await rest();
  }

  override broken(events: readonly KeyEvent[]): string[] {
    const found: string[] = [];
    const places = new Map<string, Said>();
    const begun = new Map<string, { readonly revision: bigint; readonly keys: Set<string> }>();
    for (const { revision, puts, deletes } of byRevision(events)) {
      for (const event of puts) {
        const { key, value } = event;
        if (isPlace(event, [`${this.name}/`])) {
          const said = JSON.parse(value) as Said;
          places.set(key, said);
          if (said.round === undefined) continue;
          const round = begun.get(said.round) ?? { revision, keys: new Set() };
          begun.set(said.round, round);
          if (!round.keys.has(key) && round.revision !== revision)
            found.push(`${this.name}: round ${said.round} began at ${round.revision}, and at ${revision} for ${key}`);
          round.keys.add(key);
        } else if (key === `${this.name}-inside`) {
          const there = begun.get(value)?.keys.size ?? 0;
          if (there < COUNT) found.push(`${this.name}: one was inside ${value} at ${revision}, and ${there} had begun`);
        } else if (key === `${this.name}-left`) {
          const inside = [...places.values()].filter(({ round, left }) => round === value && left !== true).length;
          if (inside > 0) found.push(`${this.name}: one had left ${value} at ${revision}, and ${inside} had not`);
        }
      }
      const ended = deletes.flatMap(({ key }) => places.get(key) ?? []);
      // With a session one place ends; more at once are a round of which all have left.
      if (ended.length > 1 && ended.some(({ left }) => left !== true))
        found.push(`${this.name}: round ${ended[0]?.round} ended at ${revision} with one inside`);
      for (const { key } of deletes) places.delete(key);
    }
    for (const [round, { keys }] of begun)
      if (keys.size !== COUNT) found.push(`${this.name}: round ${round} began with ${keys.size}`);
    return found;
  }
}
