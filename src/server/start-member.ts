/**
 * A member with this machine below it: its disk, its clock, its passwords and tokens.
 *
 * @module
 */
import { systemClock } from '../support/clock.ts';
import { SimpleTokens } from './auth/simple-tokens.ts';
import { BcryptHasher } from './auth-io/bcrypt-hasher.ts';
import { SLOW_APPLY_MS } from './http/measures.ts';
import { silentLog } from './log.ts';
import { Member } from './member/member.ts';
import type { MemberObserver, MemberOptions } from './member/options.ts';
import type { OpenPeers } from './open-peers.ts';
import type { EtcdServerOptions } from './options.ts';
import type { Disk } from './storage/disk.ts';
import { nodeDisk } from './storage/node-disk.ts';
import { withoutSync } from './storage/unsynced-disk.ts';
import { nextTurn, randomBelow, secureBytes, timeOfDay } from './system.ts';
import { otelTracing } from './tracing-otel.ts';
import { ETCD_VERSION } from './version.ts';

const CALLER = 'start-member.ts';

/** Ids as people know them. */
export function idText(id: bigint): string {
  return id.toString(16);
}

/** How often what is left of leases is written down, in ms. */
const CHECKPOINT_MS = 5 * 60_000;

/** What a member stands on besides its options: the other members, and for tests what else is not the machine's. */
export interface Surroundings extends Pick<OpenPeers, 'initialCluster' | 'join' | 'connect'> {
  /** Default: the machine's disk. */
  readonly disk?: Disk | undefined;
  /** Lets the event loop do something else. Default: it does. */
  readonly pause?: (() => Promise<void>) | undefined;
}

/** A member and what it alone uses. */
export interface StartedMember {
  readonly member: Member;
  readonly hasher: BcryptHasher;
}

/**
 * Starts a member; it may not have a leader yet.
 *
 * @param observer hears besides the log.
 */
export async function startMember(
  options: EtcdServerOptions,
  { initialCluster, join, connect, disk = diskOf(options), pause = nextTurn }: Surroundings,
  clientUrls: Promise<readonly string[]>,
  observer: MemberObserver,
): Promise<StartedMember> {
  const { name = 'default', dataDir, log = silentLog } = options;
  const hasher = new BcryptHasher({ cost: options.bcryptCost });
  const observe: MemberObserver = {
    ...observer,
    repaired: ({ file, offset, copy }) =>
      log.write('warn', CALLER, 'the end of the log was torn and is cut off; the file as it was is kept', {
        file,
        offset,
        copy,
      }),
    abandoned: (members) =>
      log.write('warn', CALLER, 'forcing a new cluster of this member; the others are removed', {
        'removed-members': members.map(idText),
      }),
  };
  const member = await Member.start({
    name,
    clientUrls,
    initialCluster,
    join,
    joins: options.initialClusterState === 'existing',
    connect,
    clusterToken: options.clusterToken,
    storage:
      dataDir === undefined
        ? undefined
        : { disk, dataDir, walDir: options.walDir, segmentBytes: options.walSegmentBytes },
    clock: options.clock ?? systemClock,
    timeOfDayMs: (options.timeOfDay ?? timeOfDay)(),
    random: options.random ?? randomBelow,
    pause,
    tokens: await tokensOf(options),
    hasher,
    version: ETCD_VERSION,
    heartbeatMs: options.heartbeatMs,
    electionMs: options.electionMs,
    initialElectionTickAdvance: options.initialElectionTickAdvance,
    initialCorruptCheck: options.initialCorruptCheck,
    corruptCheckMs: options.corruptCheckMs,
    compactHashCheckMs: options.compactHashCheckMs,
    maxRequestBytes: options.maxRequestBytes,
    quotaBytes: options.quotaBytes,
    snapshotCount: options.snapshotCount,
    snapshotCatchUpEntries: options.snapshotCatchUpEntries,
    maxLearners: options.maxLearners,
    strictReconfigCheck: options.strictReconfigCheck,
    forceNewCluster: options.forceNewCluster,
    leaseCheckpointMs: options.leaseCheckpoints ? CHECKPOINT_MS : undefined,
    autoCompaction: options.autoCompaction,
    observe,
    tracing: options.tracing === false ? undefined : otelTracing,
  });
  tell(member, observe, observer, options);
  return { member, hasher };
}

function diskOf({ unsafeNoFsync }: EtcdServerOptions): Disk {
  return unsafeNoFsync ? withoutSync(nodeDisk) : nodeDisk;
}

/** Adds what the log hears. A leader may have been found before; then that is said now. */
function tell(
  member: Member,
  observe: MemberObserver,
  observer: MemberObserver,
  { log = silentLog, slowApplyMs = SLOW_APPLY_MS }: EtcdServerOptions,
): void {
  const id = idText(member.id);
  const elected = (leader: bigint): void => {
    const { term } = member.position;
    if (leader !== 0n) log.write('info', 'raft', `raft.node: ${id} elected leader ${idText(leader)} at term ${term}`);
    else log.write('warn', 'raft', `raft.node: ${id} lost its leader at term ${term}`);
  };
  const fields = { 'local-member-id': id, 'cluster-id': idText(member.clusterId) };
  log.write('info', CALLER, 'starting local member', fields);
  if (member.position.leader !== 0n) elected(member.position.leader);
  Object.assign(observe, {
    leader(leader: bigint): void {
      observer.leader?.(leader);
      elected(leader);
    },
    snapshotSaved(index: number, bytes: number, ms: number): void {
      observer.snapshotSaved?.(index, bytes, ms);
      log.write('info', CALLER, 'saved snapshot', { 'snapshot-index': index, bytes });
    },
    appliedEntry(ms, index, kind, done): void {
      observer.appliedEntry?.(ms, index, kind, done);
      if (ms <= slowApplyMs) return;
      const took = { took: `${ms.toFixed(3)}ms`, 'expected-duration': `${slowApplyMs}ms` };
      log.write('warn', CALLER, 'apply request took too long', { ...took, request: kind, 'applied-index': index });
    },
    snapshotFailed(error: unknown): void {
      observer.snapshotFailed?.(error);
      log.write('warn', CALLER, 'failed to save snapshot', { error });
    },
  } satisfies MemberObserver);
}

async function tokensOf(options: EtcdServerOptions): Promise<MemberOptions['tokens']> {
  const { authToken = 'simple', authTokenTtlSeconds: ttlSeconds } = options;
  if (authToken === 'simple') {
    const randomBytes = options.randomBytes ?? secureBytes;
    return (context) => new SimpleTokens({ ...context, randomBytes, ttlSeconds });
  }
  // Only who wants them loads what makes them.
  const { JwtTokens } = await import('./auth-io/jwt-tokens.ts');
  const tokens = await JwtTokens.create({ ...authToken, timeOfDay: options.timeOfDay ?? timeOfDay });
  return () => tokens;
}
