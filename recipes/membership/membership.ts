/**
 * Membership: who is there, and what each says of itself.
 *
 * Keys: `<group>/members/<id>/<lease>-<nonce>`, hanging on the member's session; the value
 * is its data. So a member goes when its process does, and an id belongs to one member at a
 * time: the oldest key under it.
 *
 * Round trips: join 1 (when somebody else has the id: 1, a wait, and 1), update 1, leave 1,
 * members 1. `changes()` is one list and one watch for as long as it lasts.
 *
 * Guaranteed: a member that is listed had a session that was alive at that revision. Not
 * guaranteed: that it still lives; a process that has died is listed until its lease has run
 * out, and a group of thousands is read as a whole by each who follows it. For services
 * with addresses, health and balancing there is a registry of its own.
 *
 * Source: Curator's `GroupMember`, kazoo's `Party`.
 *
 * @module
 */

import { type Codec, InvalidArgumentError, utf8 } from '../../src/index.ts';
import { doing } from '../../src/telemetry/recipes.ts';
import { participantKey, recipePrefix } from '../names.ts';
import type { Session } from '../session.ts';
import { type WaitOptions, waiting } from '../waiting.ts';
import { Group, type GroupOptions } from './group.ts';
import { Member } from './member.ts';

/** How to join. */
export interface JoinOptions<In> extends WaitOptions {
  /**
   * Who this is in the group. One that is taken is waited for: it may be this program's own
   * former life, which is listed until its lease has run out. Default: one that is unique.
   */
  readonly id?: string | undefined;
  /** What it says of itself. Default: empty text. */
  readonly data?: In | undefined;
}

/**
 * A group that many sessions can join by its name.
 *
 * @example
 * ```ts
 * const workers = new Membership(session, 'workers', { codec: json<{ zone: string }>() });
 * await using me = await workers.join({ id: 'worker-7', data: { zone: 'a' } });
 * for await (const { type, member } of workers.changes({ signal })) console.log(type, member.id);
 * ```
 */
export class Membership<Data = string, In = Data> extends Group<Data, In> {
  readonly #session: Session;
  readonly #codec: Codec<Data, In>;
  readonly #isText: boolean;

  /** @throws InvalidArgumentError for an empty name. */
  constructor(session: Session, name: string, options: GroupOptions<Data, In> = {}) {
    super(session.etcd, name, options);
    this.#session = session;
    this.#isText = options.codec === undefined;
    this.#codec = options.codec ?? (utf8 as unknown as Codec<Data, In>);
  }

  /**
   * Joins the group. The key is put again if somebody deletes it; it goes by leaving, or
   * with the session.
   *
   * @throws WaitTimeoutError after `timeoutMs` (default: no limit), AbortError when `signal`
   * fires, LostError when the session is lost meanwhile; nothing of it is left then.
   * InvalidArgumentError for an empty id, and for data that are missing or cannot be written.
   */
  join(options: JoinOptions<In> = {}): Promise<Member<In>> {
    const which = { recipe: 'Membership', name: this.name, verb: 'join' };
    return doing(this.#session.etcd, which, () => this.#join(options));
  }

  async #join(options: JoinOptions<In>): Promise<Member<In>> {
    const { id = participantKey('', this.#session.id), data = this.#isText ? ('' as In) : undefined } = options;
    if (data === undefined) throw new InvalidArgumentError('the data are missing');
    const settings = { id, data, codec: this.#codec, prefix: `${this.prefix}${recipePrefix(id)}` };
    this.#codec.encode(data);
    using wait = waiting(this.#session, options);
    try {
      return await Member.join(this.#session, settings, wait.signal);
    } catch (error) {
      throw wait.reason(`the membership of ${id}`, error);
    }
  }
}
