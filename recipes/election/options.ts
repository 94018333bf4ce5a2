/**
 * How to stand for election.
 *
 * @module
 */

import type { WaitOptions } from '../waiting.ts';
import type { HealthOptions } from './health.ts';

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
