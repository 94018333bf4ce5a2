/**
 * `etcdkit/testing`: clusters for tests, in this process, with faults and time by call.
 *
 * @module
 */
export type { Clock, Timer } from '../support/clock.ts';
export type { LinkOptions } from './links.ts';
export type { NewTestMember, TestClusterOptions, TestServerOptions, TestWaitOptions } from './options.ts';
export { startEtcd, TestCluster } from './test-cluster.ts';
export type { TestMember, TestMemberState, TestMemberStatus } from './test-member.ts';
export { type UntilOptions, VirtualClock } from './virtual-clock.ts';
