/**
 * Membership: an id is one member's at a time, what a member says is not taken back, and who looks on sees at each
 * revision who was there.
 */
import { Group, type GroupChange } from '../../../../recipes/membership/group.ts';
import { Membership } from '../../../../recipes/membership/membership.ts';
import type { Session } from '../../../../recipes/session.ts';
import { AbortError, type Etcd } from '../../../../src/index.ts';
import type { KeyEvent } from '../../../recipes/await-point-history.ts';
import { isPlace, type Place } from './fence.ts';
import { lastPart } from './revisions.ts';
import { type Field, fired, many, rest, shifts, Work } from './work.ts';

const UPDATES = 3;
/** Two users want the first. */
const IDS = ['a', 'a', 'b'] as const;
/** Is there until the end. */
const STAYER = 'stayer';

/** What an onlooker was told of a member. */
export type Told = Pick<GroupChange<string>, 'type' | 'revision'> & { readonly id: string; readonly key: string };

export class Joining extends Work {
  readonly told: Told[] = [];
  /** The keys of those who are there, by id, as the onlooker sees it. */
  readonly #seen = new Map<string, string>();

  constructor() {
    super('group');
  }

  override users(field: Field): Promise<void>[] {
    return many(IDS.length, (i) =>
      shifts(field, field.stop, (session) => () => this.#takePart(session, IDS[i] as string, field.stop)),
    );
  }

  override followers(field: Field): Promise<void>[] {
    const stay = (session: Session) => async (): Promise<void> => {
      const { drained: signal } = field;
      await using member = await new Membership(session, this.name).join({ id: STAYER, signal });
      await fired(AbortSignal.any([signal, member.signal]));
    };
    return [this.#lookOn(field), shifts(field, field.drained, stay)];
  }

  async #takePart(session: Session, id: string, signal: AbortSignal): Promise<void> {
    const { etcd } = session;
    await using member = await new Membership(session, this.name).join({ id, data: '1', signal });
    for (let n = 2; n <= UPDATES; n += 1) await member.update(String(n));
    const { key, conditions } = member;
    const { succeeded } = await etcd.txn({ if: conditions, then: [etcd.op.put(`${this.name}-data/${id}`, key)] });
    if (succeeded) this.done += 1;
    await member.leave();
    await rest();
  }

  async #lookOn(field: Field): Promise<void> {
    try {
      for await (const { type, member, revision } of new Group(field.nextClient(), this.name).changes({
        signal: field.drained,
      })) {
        const { id, key } = member;
        this.told.push({ type, id, key, revision });
        if (type !== 'left') this.#seen.set(id, key);
        else if (this.#seen.get(id) === key) this.#seen.delete(id);
      }
    } catch (error) {
      if (!(error instanceof AbortError)) throw error;
    }
  }

  override async unsettled(etcd: Etcd): Promise<string | undefined> {
    const members = await new Group(etcd, this.name).members();
    const [there, seen] = [members.map(({ id, key }) => `${id} ${key}`), [...this.#seen].map((one) => one.join(' '))];
    if (members.map(({ id }) => id).join() === STAYER && there.join() === seen.join()) return undefined;
    return `of ${this.name} there are ${there}, and seen are ${seen}`;
  }

  override broken(events: readonly KeyEvent[]): string[] {
    const found: string[] = [];
    const folder = `${this.name}/members/`;
    const places = new Map<string, Place>();
    const memberOf = (id: string): Place | undefined =>
      [...places.values()]
        .filter(({ key }) => key.startsWith(`${folder}${id}/`))
        .reduce<Place | undefined>((a, b) => (a === undefined || b.token < a.token ? b : a), undefined);
    let told = 0;
    for (const event of events) {
      // What is told of a revision is told of all that was done at it.
      for (; (this.told[told]?.revision ?? event.revision) < event.revision; told += 1) {
        const { type, id, key, revision } = this.told[told] as Told;
        if ((memberOf(id)?.key === key) === (type === 'left'))
          found.push(`${this.name}: it was told at ${revision} that ${key} has ${type}`);
      }
      const { type, key, value, revision } = event;
      const [id = ''] = key.slice(folder.length).split('/');
      if (type === 'delete') places.delete(key);
      else if (isPlace(event, [`${folder}${id}/`])) {
        if (Number(places.get(key)?.value ?? 0) > Number(value))
          found.push(`${key} took something back at ${revision}`);
        places.set(key, { key, token: event.createRevision, value });
      } else if (key.startsWith(`${this.name}-data/`)) {
        const member = memberOf(lastPart(key));
        if (member?.key !== value)
          found.push(`${this.name}: ${value} was no member at ${revision}, but ${member?.key}`);
      }
    }
    return found;
  }
}
