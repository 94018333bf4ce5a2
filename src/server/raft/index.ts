/**
 * The consensus core: a pure Raft state machine, messages and ticks in, `Ready` out.
 *
 * `raw-node.ts` is the way in. Beside it: `raft.ts` the state and the steps that all roles share, `step.ts` what is
 * done on a message, with one room for each concern (`election`, `leader`, `replication`, `follower`, `candidate`,
 * `membership`, `reads`); `log/` the log, `tracker/` what is known of the members, `quorum/` majorities, `confchange/`
 * configurations made from others.
 *
 * @module
 */
export * from './conf-change.ts';
export type { RaftConfig, ReadMode } from './config.ts';
export { ConfChangeError, type LogGap, RaftInvariantError, type Refusal } from './errors.ts';
export type { RaftEvent } from './events.ts';
export { MemoryStorage, type Storage } from './log/storage.ts';
export { type Peer, RawNode } from './raw-node.ts';
export type { Ready } from './ready.ts';
export { entriesSize, entrySize, NO_LIMIT, payloadSize } from './size.ts';
export type { BasicStatus, Status } from './status.ts';
export { type Configuration, confStateOf, isJoint } from './tracker/configuration.ts';
export type { Progress, ProgressState } from './tracker/progress.ts';
export * from './types.ts';
