/**
 * Coordination recipes on the client: sessions, locks, elections, barriers, queues,
 * transactions in memory, counters, membership and cron.
 *
 * All of them stand on a {@link Session}: a lease that is kept alive, and that is known to
 * be lost before the server can give anything of it away.
 *
 * @module
 */

export { acquireAll, type HeldLocks } from './acquire-all.ts';
export { Barrier, type BarrierHolder, type OpenBarrierOptions } from './barrier.ts';
export * from './config/index.ts';
export { Counter, type CounterOptions, type CounterSwap } from './counter.ts';
export {
  Cron,
  type CronJob,
  type CronOptions,
  type CronRecord,
  type CronRun,
  type Misfire,
  type RunStatus,
  type WallClock,
} from './cron/cron.ts';
export {
  BarrierRound,
  DoubleBarrier,
  type DoubleBarrierOptions,
  type EnterBarrierOptions,
} from './double-barrier.ts';
export { Election } from './election/election.ts';
export { type HealthOptions, UnhealthyError } from './election/health.ts';
export { ElectionLatch, type LatchOptions } from './election/latch.ts';
export { Leadership } from './election/leadership.ts';
export type {
  CampaignOptions,
  LeadershipRecord,
  ResumeOptions,
  TryCampaignResult,
} from './election/options.ts';
export type { RunOptions } from './election/run.ts';
export {
  type ElectionCandidate,
  type ElectionLeader,
  type ElectionState,
  type ElectionVacancy,
  ElectionView,
} from './election/view.ts';
export {
  HeldByAnotherError,
  type LossReason,
  LostError,
  RecipeError,
  type RecipeErrorCode,
  UnknownOutcomeError,
  WaitTimeoutError,
} from './errors.ts';
export { FencedKv } from './fenced-kv.ts';
export { Held, type HoldingOptions } from './held.ts';
export { IdAllocator, type IdAllocatorOptions, type IdRange } from './id-allocator.ts';
export { type CountDownOptions, Latch } from './latch.ts';
export { Group, type GroupChange, type GroupMember, type GroupOptions } from './membership/group.ts';
export { Member } from './membership/member.ts';
export { type JoinOptions, Membership } from './membership/membership.ts';
export {
  PartitionClaim,
  type PartitionOwner,
  Partitions,
  type PartitionsOptions,
  type PartitionWork,
  type TakePartOptions,
} from './membership/partitions.ts';
export {
  type AcquireOptions,
  Mutex,
  type MutexContender,
  type MutexOptions,
  type ReleaseRequestResult,
  type TryAcquireResult,
} from './mutex.ts';
export type { NameOptions, Owner } from './names.ts';
export { type DelayedItem, DelayQueue, type DelayQueueOptions, type Due } from './queue/delay-queue.ts';
export {
  LOWEST_PRIORITY,
  type PriorityItem,
  PriorityQueue,
  type PriorityQueueOptions,
} from './queue/priority-queue.ts';
export { Queue, type QueueOptions } from './queue/queue.ts';
export type { WallClock as QueueWallClock } from './queue/stamps.ts';
export { type Enqueued, QueueItem } from './queue/taker.ts';
export { type DeadLetter, DeadLetters } from './queue/work/dead-letters.ts';
export { type AckResult, type AckSpec, Job, type NackOptions } from './queue/work/job.ts';
export {
  type JobOptions,
  type JobPut,
  type WorkDepth,
  WorkQueue,
  type WorkQueueOptions,
} from './queue/work/work-queue.ts';
export type { JobHandler, ProcessOptions } from './queue/work/worker.ts';
export type { ReleaseRequest } from './release-requests.ts';
export { type RWContender, type RWMode, RWMutex, type TryResult, WriteLock } from './rwmutex.ts';
export {
  HeldPermits,
  Semaphore,
  type SemaphoreAcquireOptions,
  type SemaphoreContender,
  type SemaphoreOptions,
  type TryPermitsResult,
} from './semaphore.ts';
export * from './services/index.ts';
export { Session, type SessionOptions, type SessionUser } from './session.ts';
export {
  type Isolation,
  StmConflictError,
  type StmEntry,
  type StmOptions,
  type StmPutOptions,
  type StmRangeOptions,
  type StmResult,
  StmTransaction,
  stm,
} from './stm/stm.ts';
export { type SuperviseOptions, supervise } from './supervise.ts';
export type { WaitOptions } from './waiting.ts';
