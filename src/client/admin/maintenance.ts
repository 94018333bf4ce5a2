/**
 * Operating a cluster: status, alarms, defragmentation, hashes, backups, leadership,
 * downgrades.
 *
 * Most of these calls are about one member and not about the cluster. Which one is said by
 * `CallOptions.endpoint`; where it would be dangerous to leave it to chance, the endpoint is
 * required.
 *
 * Some take longer than an ordinary call and have defaults of their own, see
 * {@link DEFRAGMENT_TIMEOUT_MS}, {@link MOVE_LEADER_TIMEOUT_MS}, {@link HASH_TIMEOUT_MS} and
 * {@link DOWNGRADE_TIMEOUT_MS}.
 *
 * Source: https://etcd.io/docs/v3.5/op-guide/maintenance/
 *
 * @module
 */

import {
  DowngradeRequestDowngradeAction as Action,
  Maintenance as Service,
} from '../../protocol/generated/etcdserverpb.ts';
import type { MemberId, Revision } from '../../protocol/int64.ts';
import type { CallOptions } from '../call-options.ts';
import type { Caller } from '../connection/caller.ts';
import { EtcdError, InvalidArgumentError } from '../errors.ts';
import { type ResponseHeader, toHeader } from '../header.ts';
import { AlarmApi } from './alarms.ts';
import type { ClusterApi } from './cluster.ts';
import { type DefragmentAllOptions, type DefragmentStep, defragmentAll } from './defragment-all.ts';
import { type ClusterHealth, readHealth } from './health.ts';
import { moveLeader } from './move-leader.ts';
import { needing } from './server-capabilities.ts';
import { openSnapshot, type SnapshotOptions, type SnapshotStream } from './snapshot.ts';
import { type SavedSnapshot, type SaveSnapshotOptions, saveSnapshot } from './snapshot-file.ts';
import { type MemberStatus, toStatus } from './status.ts';
import { LOCAL_READ, LOCAL_WRITE, READ, STATUS_TRAITS, WRITE } from './traits.ts';

/** Ten minutes: a member rewrites its whole database file, gigabytes perhaps, on a slow disk. */
export const DEFRAGMENT_TIMEOUT_MS = 600_000;

/** One minute: a hash reads everything up to the revision. */
export const HASH_TIMEOUT_MS = 60_000;

/** Fifteen seconds: the server itself gives up a transfer after seven with usual settings. */
export const MOVE_LEADER_TIMEOUT_MS = 15_000;

/** Fifteen seconds: etcd 3.5 answers a downgrade after seven. */
export const DOWNGRADE_TIMEOUT_MS = 15_000;

/** A hash of a member's whole database file. */
export interface HashResult {
  readonly header: ResponseHeader;
  /** CRC-32C. Differs between healthy members too: files with the same keys need not be the same. */
  readonly hash: number;
}

/** A hash of the keys up to a revision. */
export interface HashKvResult extends HashResult {
  /**
   * The revision up to which history was compacted when the hash was taken; undefined when
   * it never was. Only hashes with the same value can be compared.
   */
  readonly compactRevision: Revision | undefined;
  /** The revision that the hash covers. Since 3.6; undefined from older servers. */
  readonly hashRevision: Revision | undefined;
}

/** Answer of the downgrade calls. */
export interface DowngradeResult {
  readonly header: ResponseHeader;
  /** The cluster's version now, such as `3.5.0`. */
  readonly version: string;
}

/** Options of a call that must name its member. */
export type AimedOptions = CallOptions & { readonly endpoint: string };

/** `etcd.maintenance`. Most of it needs the user root where authentication is on. */
export class MaintenanceApi {
  readonly alarms: AlarmApi;
  readonly downgrade: DowngradeApi;
  readonly #caller: Caller;
  readonly #cluster: ClusterApi;

  /** @internal */
  constructor(caller: Caller, cluster: ClusterApi) {
    this.#caller = caller;
    this.#cluster = cluster;
    this.alarms = new AlarmApi(caller);
    this.downgrade = new DowngradeApi(caller);
  }

  /** The status of the member at `endpoint`, or of any. Learners answer, and members without a leader. */
  async status(options?: CallOptions): Promise<MemberStatus> {
    return toStatus(await this.#caller.unary(Service.status, {}, STATUS_TRAITS, options));
  }

  /**
   * Rewrites a member's database file without the holes that deleted history left. The member
   * answers nothing else meanwhile, so do one at a time: {@link MaintenanceApi.defragmentAll}.
   *
   * The time is {@link DEFRAGMENT_TIMEOUT_MS} unless given. Giving up does not stop the
   * member's work. Not repeated after an ambiguous failure. A learner refuses.
   */
  async defragment(options: AimedOptions): Promise<void> {
    if (!options?.endpoint) throw new InvalidArgumentError('defragment needs the endpoint of the member to defragment');
    const call = { timeoutMs: DEFRAGMENT_TIMEOUT_MS, ...defined(options) };
    await this.#caller.unary(Service.defragment, {}, LOCAL_WRITE, call);
  }

  /** The hash of a member's database file. To compare members use {@link MaintenanceApi.hashKv}. */
  async hash(options: CallOptions = {}): Promise<HashResult> {
    const call = { timeoutMs: HASH_TIMEOUT_MS, ...defined(options) };
    const { header, hash } = await this.#caller.unary(Service.hash, {}, LOCAL_READ, call);
    return { header: toHeader(header), hash };
  }

  /**
   * The hash of a member's keys up to a revision; of all when none is given. Members that are
   * sound answer the same for the same `revision` and `compactRevision`.
   *
   * @throws CompactedError for a revision below the compacted one, and EtcdError with code
   *   `future-revision` for one that the member has not reached.
   */
  async hashKv(revision?: Revision, options: CallOptions = {}): Promise<HashKvResult> {
    const call = { timeoutMs: HASH_TIMEOUT_MS, ...defined(options) };
    const answer = await this.#caller.unary(Service.hashKV, { revision }, LOCAL_READ, call);
    const { header, hash, compactRevision, hashRevision } = answer;
    return {
      header: toHeader(header),
      hash,
      compactRevision: compactRevision < 0n ? undefined : (compactRevision as Revision),
      hashRevision: hashRevision === 0n ? undefined : (hashRevision as Revision),
    };
  }

  /**
   * Hands the leadership to another member. Finds the leader itself unless `endpoint` says
   * where it is, and does nothing when the target leads already. A request that was refused
   * because the leader had just changed is sent to the new one; one that may have been acted
   * on is not repeated. The time is {@link MOVE_LEADER_TIMEOUT_MS} in all unless given.
   *
   * @throws EtcdError with `etcdCode` `BadLeaderTransferee` for a learner or a stranger.
   */
  async moveLeader(target: MemberId, options: CallOptions = {}): Promise<void> {
    await moveLeader(this.#caller, this.#cluster, target, options, MOVE_LEADER_TIMEOUT_MS);
  }

  /**
   * Opens a backup: a stream of the bytes that `etcdctl snapshot save` writes, checked while
   * they pass. See {@link SnapshotStream}.
   */
  snapshot(options: SnapshotOptions = {}): Promise<SnapshotStream> {
    return openSnapshot(this.#caller, options);
  }

  /** Saves a backup to a file: all of it, checked and on the disk, or nothing. See {@link saveSnapshot}. */
  saveSnapshot(path: string, options: SaveSnapshotOptions = {}): Promise<SavedSnapshot> {
    return saveSnapshot(this.#caller, path, options);
  }

  /**
   * Looks at every member, in at most 5 s unless `timeoutMs` says otherwise; a member that is
   * down uses that up.
   *
   * @throws EtcdError when no endpoint of the client tells who the members are, or the signal fires.
   */
  health(options: CallOptions = {}): Promise<ClusterHealth> {
    return readHealth(this.#caller, this.#cluster, options);
  }

  /** Defragments every member, one after the other, the leader last. See {@link defragmentAll}. */
  defragmentAll(options: DefragmentAllOptions = {}): Promise<readonly DefragmentStep[]> {
    const look = (call: CallOptions): Promise<ClusterHealth> => readHealth(this.#caller, this.#cluster, call);
    return defragmentAll(this.#caller, options, look, (call) => this.defragment(call));
  }
}

/**
 * `etcd.maintenance.downgrade`: preparing a cluster for members of the minor version before.
 * Needs etcd 3.5. Not repeated after an ambiguous failure.
 *
 * Source: https://etcd.io/docs/v3.6/downgrades/
 */
export class DowngradeApi {
  readonly #caller: Caller;

  /** @internal */
  constructor(caller: Caller) {
    this.#caller = caller;
  }

  /**
   * Whether the cluster could be downgraded to a version, such as `3.5`.
   *
   * @throws UnsupportedError from etcd 3.4.
   * @throws EtcdError with `etcdCode` `InvalidDowngradeTargetVersion` unless it is one minor
   *   version below the cluster's, `WrongDowngradeVersionFormat`, `DowngradeInProcess`.
   */
  validate(version: string, options: CallOptions = {}): Promise<DowngradeResult> {
    return this.#ask(Action.VALIDATE, version, options);
  }

  /**
   * Starts a downgrade to a version. Etcd 3.5 does it and then fails to say so: after seven
   * seconds it answers a timeout. In that case the cluster is asked whether a downgrade is in
   * progress, and a yes counts as success.
   */
  async enable(version: string, options: CallOptions = {}): Promise<void> {
    try {
      await this.#ask(Action.ENABLE, version, options);
    } catch (error) {
      const unclear = error instanceof EtcdError && error.etcdCode === 'Timeout' && error.applied === 'maybe';
      if (!unclear || !(await this.#inProgress(version, options))) throw error;
    }
  }

  /**
   * Calls a downgrade off. Etcd 3.5 does it and then answers a timeout after seven seconds,
   * which is an error with `applied: 'maybe'` here: calling again answers `NoInflightDowngrade`
   * when it was done.
   */
  async cancel(options: CallOptions = {}): Promise<void> {
    await this.#ask(Action.CANCEL, '', options);
  }

  async #inProgress(version: string, options: CallOptions): Promise<boolean> {
    try {
      await this.validate(version, options);
      return false;
    } catch (error) {
      return error instanceof EtcdError && error.etcdCode === 'DowngradeInProcess';
    }
  }

  async #ask(action: Action, version: string, options: CallOptions): Promise<DowngradeResult> {
    const traits = action === Action.VALIDATE ? READ : WRITE;
    const call = { timeoutMs: DOWNGRADE_TIMEOUT_MS, ...defined(options) };
    const answer = this.#caller.unary(Service.downgrade, { action, version }, traits, call);
    const { header, version: now } = await needing(this.#caller, 'downgrade', answer);
    return { header: toHeader(header), version: now };
  }
}

/** The options that are given, so that an undefined one does not hide a default. */
function defined(options: CallOptions): CallOptions {
  const { timeoutMs, ...rest } = options;
  return timeoutMs === undefined ? rest : options;
}
