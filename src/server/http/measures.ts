/**
 * What is counted of a server as it passes. What can be read off its member at any time is not here.
 *
 * @module
 */
import type { MemberObserver } from '../member/options.ts';
import { CallStats } from '../rpc/call-stats.ts';
import { CallTimes } from './call-times.ts';
import type { HealthObserver } from './health.ts';
import { PeerTallies } from './peer-tallies.ts';
import { Durations, doubling, LabelledCounts, LabelledDurations } from './tallies.ts';

/** What to measure, and by what. */
export interface MeasureOptions {
  /** Size that the database may have, in bytes; 0 for etcd's default of 2 GiB. Default 0. */
  readonly quotaBackendBytes?: number | undefined;
  /** Whether the duration of each call is measured. Default: false. */
  readonly extensive?: boolean | undefined;
  /** From when on applying an entry counts as slow, in ms. Default: 100. */
  readonly slowApplyMs?: number | undefined;
}

/** From when on applying an entry counts as slow, in ms: as with etcd. */
export const SLOW_APPLY_MS = 100;

/** etcd's buckets for what waits for a disk: from 1 ms to 8.2 s. */
const DISK_BOUNDS = doubling(0.001, 14);
/** From 0.1 ms to 52 s. */
const APPLY_BOUNDS = doubling(0.0001, 20);

/** See the head of this file. */
export class Measures implements HealthObserver {
  readonly options: MeasureOptions;
  /** Counts of calls, which the transport keeps. */
  readonly calls = new CallStats();
  /** Durations of calls; undefined unless they are asked for. */
  readonly callTimes: CallTimes | undefined;
  readonly logSyncs = new Durations(DISK_BOUNDS);
  readonly imageSaves = new Durations(DISK_BOUNDS);
  /** By kind of request. */
  readonly applied = new LabelledDurations(APPLY_BOUNDS);
  /** The same, of those that were refused. */
  readonly refused = new LabelledDurations(APPLY_BOUNDS);
  slowApplies = 0;
  /** Answers of `/health`. */
  readonly health: { healthy: number; unhealthy: number } = { healthy: 0, unhealthy: 0 };
  /** The last answer of each check, and how often it was given; labels are `livez` or `readyz`, a blank, the check. */
  readonly checks = new Map<string, boolean>();
  readonly checksPassed = new LabelledCounts();
  readonly checksFailed = new LabelledCounts();
  /** For the transport between members to tell. */
  readonly peers = new PeerTallies();
  /** For the member to tell. */
  readonly observer: MemberObserver;
  constructor(options: MeasureOptions = {}) {
    this.options = options;
    this.callTimes = options.extensive ? new CallTimes() : undefined;
    const { slowApplyMs = SLOW_APPLY_MS } = options;
    this.observer = {
      written: (ms) => this.logSyncs.observe(ms / 1_000),
      snapshotSaved: (_index, _bytes, ms) => this.imageSaves.observe(ms / 1_000),
      appliedEntry: (ms, _index, kind, done) => {
        if (kind !== undefined) (done ? this.applied : this.refused).of(kind).observe(ms / 1_000);
        if (ms > slowApplyMs) this.slowApplies += 1;
      },
    };
  }

  checked(healthy: boolean): void {
    if (healthy) this.health.healthy += 1;
    else this.health.unhealthy += 1;
  }

  check(type: 'livez' | 'readyz', name: string, healthy: boolean): void {
    const label = `${type} ${name}`;
    this.checks.set(label, healthy);
    (healthy ? this.checksPassed : this.checksFailed).add(label);
  }
}
