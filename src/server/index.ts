/**
 * `etcdkit/server`: an etcd server inside this process.
 *
 * @module
 */
export type { JwtAlgorithm, JwtOptions } from './auth-io/jwt-tokens.ts';
export { EtcdServer, type StopOptions } from './etcd-server.ts';
export type { LogFields, LogLevel, ServerLog } from './log.ts';
export { DataDirError } from './member/data-dir.ts';
export { MemberRemovedError } from './member/errors.ts';
export type { AutoCompaction, EtcdServerOptions, PeerAddress, PeerTls, ServerAddress, ServerTls } from './options.ts';
export { BootstrapError } from './peer/bootstrap.ts';
export { type RestoredSnapshot, type RestoreSnapshotOptions, restoreSnapshot } from './restore-snapshot.ts';
export { WalError, type WalErrorCode } from './wal/errors.ts';
