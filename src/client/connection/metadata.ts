/**
 * The metadata of calls, one object for each combination in use, so that the transport
 * can keep what it makes of them.
 *
 * @module
 */

import type { CallMetadata } from '../transport/transport.ts';

/** The metadata key by which etcd is asked to refuse a call when it has no leader. */
const HAS_LEADER = 'hasleader';

export class MetadataTable {
  #token: string | undefined;
  #plain: CallMetadata = {};
  #leader: CallMetadata = { [HAS_LEADER]: 'true' };

  /** The metadata of a call with this token; asking for a leader or not. */
  get(token: string | undefined, requireLeader: boolean): CallMetadata {
    if (token === undefined) return requireLeader ? LEADER_ONLY : NOTHING;
    if (token !== this.#token) {
      this.#token = token;
      this.#plain = { token };
      this.#leader = { token, [HAS_LEADER]: 'true' };
    }
    return requireLeader ? this.#leader : this.#plain;
  }
}

const NOTHING: CallMetadata = {};
const LEADER_ONLY: CallMetadata = { [HAS_LEADER]: 'true' };
