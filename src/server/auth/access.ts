/**
 * Which permission each request needs.
 *
 * `rules.ts` says which check each method gets. Requests that change the state are checked
 * twice: when they come in, and once more when their log entry is applied, since permissions may have changed between
 * ({@link Access.checkEntry}).
 *
 * Three holes that servers of etcd have had stay shut: all of a transaction is checked, those inside it and the branch
 * that is not taken too, with `prev_kv` and leases as outside of one; a watch is checked for the range that it asked
 * for, with its end as sent; and nothing is for those who have not said who they are, not even an empty transaction.
 *
 * Source: https://etcd.io/docs/v3.5/op-guide/authentication/rbac/; etcd's advisories CVE-2026-33343, CVE-2026-44283,
 * CVE-2026-33413, CVE-2023-32082 and GHSA-xg4h-6gfc-h4m8; servers 3.5 as observed.
 *
 * @module
 */
import type {
  AlarmRequest,
  DeleteRangeRequest,
  LeaseTimeToLiveRequest,
  PutRequest,
  RequestOp,
  TxnRequest,
  WatchRequest,
} from '../../protocol/generated/etcdserverpb.ts';
import { AlarmRequestAlarmAction } from '../../protocol/generated/etcdserverpb.ts';
import type { InternalRaftRequest } from '../../protocol/generated/raftinternalpb.ts';
import { toLatin1, ZERO_BYTE } from '../../protocol/keys.ts';
import type { KeyString } from '../mvcc/record.ts';
import type { KeyRange } from '../mvcc/store.ts';
import type { AuthError } from './errors.ts';
import type { Actor, AuthStore } from './store.ts';

/** Knows which keys hang on which lease. */
export interface LeaseKeys {
  keysOf(lease: bigint): Iterable<KeyString>;
  /** The ids of all leases. */
  list(): readonly bigint[];
}

type Check<Request> = (request: Request, actor: Actor) => AuthError | undefined;

interface WireRange {
  readonly key: Uint8Array;
  readonly rangeEnd: Uint8Array;
}

/** Decides who may ask for what. Everything passes while authentication is off. */
export class Access {
  readonly #store: AuthStore;
  readonly #leases: LeaseKeys;

  constructor(store: AuthStore, leases: LeaseKeys) {
    this.#store = store;
    this.#leases = leases;
  }

  /** Anybody at all. */
  readonly open: Check<unknown> = () => undefined;

  /** Anybody who has said who they are. */
  readonly user: Check<unknown> = (_, actor) => this.#store.checkUser(actor);

  /** Users with the role root. */
  readonly admin: Check<unknown> = (_, actor) => this.#store.checkAdmin(actor);

  readonly range: Check<WireRange> = (request, actor) => this.#reads(actor, [toRange(request)]);

  /** An end of no bound counts as one, whatever the watch makes of it later. */
  readonly watch: Check<WatchRequest> = ({ createRequest }, actor) => {
    if (!createRequest) return this.#store.checkUser(actor);
    const { key, rangeEnd } = createRequest;
    return this.range({ key: key.length === 0 ? ZERO_BYTE : key, rangeEnd }, actor);
  };

  readonly put: Check<PutRequest> = ({ key, lease, prevKv }, actor) => {
    const one = point(toLatin1(key));
    // Who hangs a key on a lease shares the fate of its other keys with those that may end it.
    const error = this.#writes(actor, [one]) ?? this.#writes(actor, this.#keysOf(lease));
    return error ?? (prevKv ? this.#reads(actor, [one]) : undefined);
  };

  readonly deleteRange: Check<DeleteRangeRequest> = (request, actor) => {
    const range = toRange(request);
    return this.#writes(actor, [range]) ?? (request.prevKv ? this.#reads(actor, [range]) : undefined);
  };

  readonly txn: Check<TxnRequest> = (request, actor) => {
    // A list and no recursion: how deep requests may go is for others to say, and must not matter here.
    const txns = [request];
    for (const { compare, success, failure } of txns) {
      const error = this.#reads(actor, compare.map(toRange)) ?? this.#ops(success, actor) ?? this.#ops(failure, actor);
      if (error) return error;
      for (const op of success) if (op.requestTxn) txns.push(op.requestTxn);
      for (const op of failure) if (op.requestTxn) txns.push(op.requestTxn);
    }
    return undefined;
  };

  /** To end or to renew a lease is to decide about its keys. */
  readonly leaseWrite: Check<{ readonly ID: bigint }> = ({ ID }, actor) =>
    this.#store.checkUser(actor) ?? this.#writes(actor, this.#keysOf(ID));

  /** The names of keys are for those who may read them. */
  readonly leaseTimeToLive: Check<LeaseTimeToLiveRequest> = ({ ID, keys }, actor) =>
    this.#store.checkUser(actor) ?? (keys ? this.#reads(actor, this.#keysOf(ID)) : undefined);

  readonly leaseLeases: Check<unknown> = (_, actor) => {
    const keys = this.#leases.list().map((lease) => this.#keysOf(lease));
    return this.#store.checkUser(actor) ?? this.#reads(actor, keys.flat());
  };

  readonly alarm: Check<AlarmRequest> = (request, actor) =>
    request.action === AlarmRequestAlarmAction.GET ? this.user(request, actor) : this.admin(request, actor);

  /** Everybody may look at themselves. */
  readonly userGet: Check<{ readonly name: string }> = ({ name }, actor) => {
    const error = this.#store.checkAdmin(actor);
    return error && actor.username === name ? this.#store.checkUser(actor) : error;
  };

  /** Everybody may look at the roles that they have. */
  readonly roleGet: Check<{ readonly role: string }> = ({ role }, actor) => {
    const error = this.#store.checkAdmin(actor);
    return error && this.#store.hasRole(actor.username, role) ? undefined : error;
  };

  /**
   * Checks an entry of the log, once more. Entries that members propose on their own pass, such as alarms and
   * compactions; but the end of a lease is proposed in the name of {@link AuthStore.self}.
   */
  checkEntry(entry: InternalRaftRequest): AuthError | undefined {
    if (!this.#store.enabled) return undefined;
    const { header } = entry;
    const actor: Actor = { username: header?.username ?? '', revision: header?.authRevision ?? 0n };
    if (entry.range) return this.range(entry.range, actor);
    if (entry.put) return this.put(entry.put, actor);
    if (entry.deleteRange) return this.deleteRange(entry.deleteRange, actor);
    if (entry.txn) return this.txn(entry.txn, actor);
    if (entry.leaseRevoke) return this.leaseWrite(entry.leaseRevoke, actor);
    if (entry.authUserGet) return this.userGet(entry.authUserGet, actor);
    if (entry.authRoleGet) return this.roleGet(entry.authRoleGet, actor);
    return isAdministration(entry) ? this.admin(entry, actor) : undefined;
  }

  #ops(ops: readonly RequestOp[], actor: Actor): AuthError | undefined {
    for (const { requestRange, requestPut, requestDeleteRange } of ops) {
      const error =
        (requestRange && this.range(requestRange, actor)) ??
        (requestPut && this.put(requestPut, actor)) ??
        (requestDeleteRange && this.deleteRange(requestDeleteRange, actor));
      if (error) return error;
    }
    return undefined;
  }

  #reads(actor: Actor, ranges: readonly KeyRange[]): AuthError | undefined {
    return this.#store.checkRanges(actor, ranges, 'read');
  }

  #writes(actor: Actor, ranges: readonly KeyRange[]): AuthError | undefined {
    return this.#store.checkRanges(actor, ranges, 'write');
  }

  #keysOf(lease: bigint): readonly KeyRange[] {
    return lease === 0n ? [] : Array.from(this.#leases.keysOf(lease), point);
  }
}

function toRange({ key, rangeEnd }: WireRange): KeyRange {
  return { key: toLatin1(key), end: toLatin1(rangeEnd) };
}

function point(key: KeyString): KeyRange {
  return { key, end: '' };
}

/** Requests of the log that only root may make. */
const ADMINISTRATION = [
  'authEnable',
  'authDisable',
  'authStatus',
  'authUserAdd',
  'authUserDelete',
  'authUserChangePassword',
  'authUserGrantRole',
  'authUserRevokeRole',
  'authUserList',
  'authRoleList',
  'authRoleAdd',
  'authRoleDelete',
  'authRoleGrantPermission',
  'authRoleRevokePermission',
] as const satisfies readonly (keyof InternalRaftRequest)[];

function isAdministration(entry: InternalRaftRequest): boolean {
  return ADMINISTRATION.some((field) => entry[field] !== undefined);
}
