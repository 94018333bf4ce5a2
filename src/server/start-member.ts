/**
 * A member with this machine below it: its disk, its clock, its passwords and tokens.
 *
 * @module
 */
import { systemClock } from '../support/clock.ts';
import { SimpleTokens } from './auth/simple-tokens.ts';
import { BcryptHasher } from './auth-io/bcrypt-hasher.ts';
import { JwtTokens } from './auth-io/jwt-tokens.ts';
import { type ServerLog, silentLog } from './log.ts';
import { Member } from './member/member.ts';
import type { MemberObserver, MemberOptions } from './member/options.ts';
import type { EtcdServerOptions } from './options.ts';
import { nodeDisk } from './storage/node-disk.ts';
import { withoutSync } from './storage/unsynced-disk.ts';
import { nextTurn, randomBelow, secureBytes, timeOfDay } from './system.ts';
import { ETCD_VERSION } from './version.ts';

const CALLER = 'start-member.ts';

/** Ids as people know them. */
export function idText(id: bigint): string {
  return id.toString(16);
}

/** The address that a member has for others unless it is told another. */
const DEFAULT_PEER_URL = 'http://localhost:2380';

/** How often what is left of leases is written down, in ms. */
const CHECKPOINT_MS = 5 * 60_000;

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
  clientUrls: Promise<readonly string[]>,
  observer: MemberObserver,
): Promise<StartedMember> {
  const { name = 'default', peerUrls = [DEFAULT_PEER_URL], dataDir, log = silentLog } = options;
  const disk = options.unsafeNoFsync ? withoutSync(nodeDisk) : nodeDisk;
  const hasher = new BcryptHasher({ cost: options.bcryptCost });
  const observe = { ...observer };
  const member = await Member.start({
    name,
    clientUrls,
    initialCluster: [{ name, peerUrls }],
    clusterToken: options.clusterToken,
    storage:
      dataDir === undefined
        ? undefined
        : { disk, dataDir, walDir: options.walDir, segmentBytes: options.walSegmentBytes },
    clock: options.clock ?? systemClock,
    timeOfDayMs: (options.timeOfDay ?? timeOfDay)(),
    random: options.random ?? randomBelow,
    pause: nextTurn,
    tokens: await tokensOf(options),
    hasher,
    version: ETCD_VERSION,
    heartbeatMs: options.heartbeatMs,
    electionMs: options.electionMs,
    maxRequestBytes: options.maxRequestBytes,
    quotaBytes: options.quotaBytes,
    snapshotCount: options.snapshotCount,
    snapshotCatchUpEntries: options.snapshotCatchUpEntries,
    strictReconfigCheck: options.strictReconfigCheck,
    leaseCheckpointMs: options.leaseCheckpoints ? CHECKPOINT_MS : undefined,
    autoCompaction: options.autoCompaction,
    observe,
  });
  tell(member, observe, observer, log);
  return { member, hasher };
}

/** Adds what the log hears. A leader may have been found before; then that is said now. */
function tell(member: Member, observe: MemberObserver, observer: MemberObserver, log: ServerLog): void {
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
    snapshotSaved(index: number, bytes: number): void {
      observer.snapshotSaved?.(index, bytes);
      log.write('info', CALLER, 'saved snapshot', { 'snapshot-index': index, bytes });
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
  const tokens = await JwtTokens.create({ ...authToken, timeOfDay: options.timeOfDay ?? timeOfDay });
  return () => tokens;
}
