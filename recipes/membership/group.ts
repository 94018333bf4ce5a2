/**
 * Who belongs to a group, as anybody can see it: no session is needed to look.
 *
 * Keys: `<group>/members/<id>/<lease>-<nonce>`, the member's data as the value. Of several
 * keys under one id the oldest is the member; the others wait for it to go.
 *
 * @module
 */

import {
  type CallOptions,
  type Codec,
  type Etcd,
  type Keyspace,
  type KeyValue,
  type LeaseId,
  type Revision,
  utf8,
} from '../../src/index.ts';
import { following } from '../following.ts';
import { isParticipant, recipePrefix } from '../names.ts';

/** A member of a group. */
export interface GroupMember<Data> {
  readonly id: string;
  /** Its key in the store. */
  readonly key: string;
  /** What it says of itself. @throws DecodeError when the codec cannot read it. */
  readonly data: Data;
  /** The revision at which it joined: earlier is smaller. */
  readonly joined: Revision;
  /** The revision of its last change. */
  readonly revision: Revision;
  /** The lease that it hangs on: when that ends, it is a member no more. */
  readonly lease: LeaseId | undefined;
}

/** Something about the members has changed. */
export interface GroupChange<Data> {
  /** `joined` is also said of those who are there when the loop begins, and of one that came back as another. */
  readonly type: 'joined' | 'updated' | 'left';
  /** The member; one that has left as it was seen last. */
  readonly member: GroupMember<Data>;
  /** The revision at which it was seen. */
  readonly revision: Revision;
}

/** How to read a group. */
export interface GroupOptions<Data, In = Data> {
  /** Reads and writes the members' data. Default: text as it is. */
  readonly codec?: Codec<Data, In> | undefined;
}

/** A group, for those who only look. */
export class Group<Data = string, In = Data> {
  readonly name: string;
  /** Where the group's keys are. */
  readonly prefix: string;
  protected readonly keyspace: Keyspace<Data, In>;

  /** @throws InvalidArgumentError for an empty name. */
  constructor(etcd: Etcd, name: string, options: GroupOptions<Data, In> = {}) {
    this.name = name;
    this.prefix = membersPrefix(name);
    // Text is the default, and then Data is string.
    this.keyspace = etcd.keyspace('', options.codec ?? (utf8 as unknown as Codec<Data, In>));
  }

  /** The members, in the order in which they joined. One round trip. */
  async members(options: CallOptions = {}): Promise<GroupMember<Data>[]> {
    const { kvs } = await this.keyspace.range({ prefix: this.prefix }, options);
    return membersOf(kvs, this.prefix);
  }

  /**
   * What changes: first the members as they are, as if they had just joined, then everybody
   * who joins, changes, or leaves. A slow reader is told the difference between what it was
   * told last and how things stand.
   *
   * The loop ends only by leaving it, or by throwing.
   *
   * @throws AbortError when the signal fires, ClosedError when the client is closed,
   * EtcdError when the cluster refuses for good.
   */
  async *changes(options: Pick<CallOptions, 'signal'> = {}): AsyncGenerator<GroupChange<Data>, void, void> {
    let known = new Map<string, GroupMember<Data>>();
    for await (const { kvs, revision } of following(this.keyspace, this.prefix, options.signal)) {
      const now = new Map(membersOf(kvs, this.prefix).map((member) => [member.key, member]));
      const before = known;
      known = now;
      for (const [key, member] of before) if (!now.has(key)) yield { type: 'left', member, revision };
      for (const [key, member] of now) {
        const old = before.get(key);
        if (old === undefined) yield { type: 'joined', member, revision };
        else if (old.joined !== member.joined || old.revision !== member.revision) {
          yield { type: 'updated', member, revision };
        }
      }
    }
  }
}

/** Where the keys of a group's members are. */
export function membersPrefix(name: string): string {
  return `${recipePrefix(name)}members/`;
}

/** The members among some keys, in the order in which they joined. */
export function membersOf<Data>(kvs: readonly KeyValue<Data>[], prefix: string): GroupMember<Data>[] {
  const oldest = new Map<string, KeyValue<Data>>();
  for (const kv of kvs) {
    const place = placeOf(kv, prefix);
    if (place === undefined) continue;
    const other = oldest.get(place);
    if (other === undefined || kv.createRevision < other.createRevision) oldest.set(place, kv);
  }
  return [...oldest]
    .map(([id, kv]) => toMember(id, kv))
    .sort((a, b) => (a.joined === b.joined ? (a.id < b.id ? -1 : 1) : a.joined < b.joined ? -1 : 1));
}

/** What a participant's key of the form `<prefix><name>/<lease>-<nonce>` stands for; undefined for any other key. */
export function placeOf(kv: KeyValue<unknown>, prefix: string): string | undefined {
  if (!kv.key.startsWith(prefix)) return undefined;
  const end = kv.key.indexOf('/', prefix.length);
  if (end < 0 || !isParticipant(kv, kv.key.slice(0, end + 1))) return undefined;
  return kv.key.slice(prefix.length, end).replaceAll('%2F', '/').replaceAll('%25', '%');
}

function toMember<Data>(id: string, kv: KeyValue<Data>): GroupMember<Data> {
  return {
    id,
    key: kv.key,
    get data() {
      return kv.value;
    },
    joined: kv.createRevision,
    revision: kv.modRevision,
    lease: kv.lease,
  };
}
