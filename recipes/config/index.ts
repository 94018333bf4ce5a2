/**
 * The config centre: values with a type in etcd, validated, followed, published by compare, rolled out and rolled back.
 *
 * @module
 */

export type { ChangeOptions } from './change.ts';
export type { ConfigChange } from './change-feed.ts';
export {
  Config,
  type ConfigOptions,
  type ConfigReading,
  type PublishOptions,
  type StagedConfig,
  type StageOptions,
} from './config.ts';
export { ConfigTree, type ConfigTreeOptions, type LiveConfigTree } from './config-tree.ts';
export { ConfigConflictError, ConfigError, type ConfigProblem } from './errors.ts';
export type { ConfigHistory, ConfigVersion } from './history.ts';
export type { ConfigSource, GoodValue } from './last-good.ts';
export type { ConfigErrorListener, ConfigListener, LiveConfig, OpenConfigOptions } from './live-config.ts';
export type { ConfigFormat, ConfigTextOptions } from './text.ts';
