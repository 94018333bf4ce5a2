/**
 * `etcdkit/server`: an etcd server inside this process.
 *
 * @module
 */
export { EtcdServer } from './etcd-server.ts';
export type { LogFields, LogLevel, ServerLog } from './log.ts';
export type { AutoCompaction, EtcdServerOptions, ServerAddress, ServerTls } from './options.ts';
