/**
 * How to stand for election.
 *
 * @module
 */

import type { Revision } from '../../src/index.ts';
import type { WaitOptions } from '../waiting.ts';
import type { HealthOptions } from './health.ts';
import type { Leadership } from './leadership.ts';
import type { ElectionLeader } from './view.ts';

/** How to campaign. */
export interface CampaignOptions extends WaitOptions {
  /**
   * What the candidate stands for, such as its address: all see it, before the election too.
   * Default: empty.
   */
  readonly value?: string | undefined;
  /**
   * Keeps candidates away that could do nothing with the leadership, and ends that of a
   * leader which no longer can: its signal fires, with an UnhealthyError as the
   * cause, and it resigns.
   */
  readonly health?: HealthOptions | undefined;
}

/** How `Election.tryCampaign` went. */
export type TryCampaignResult =
  | { readonly elected: true; readonly leadership: Leadership }
  /** Who leads instead, as of that moment. */
  | { readonly elected: false; readonly leader: ElectionLeader };

/** What to keep of a {@link Leadership} to resume it when the object is gone. */
export interface LeadershipRecord {
  /** The leader's key. */
  readonly key: string;
  /** The revision that created it. */
  readonly term: Revision;
}

/** How to resume a leadership. The value stays what was proclaimed last. */
export type ResumeOptions = Omit<CampaignOptions, 'value'>;
