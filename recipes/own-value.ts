/**
 * Writing to one's own key, so that the last word is the one that stays.
 *
 * A write whose answer was lost has to be sent again, and the first request may still be on
 * its way: in the sockets of a member that is stopped, say. It must not put back then what
 * has been overwritten since. So each write demands that the key is as it was known to be,
 * by its revision: whatever comes late finds another revision, and is refused.
 *
 * @module
 */

import type { Revision } from '../src/index.ts';
import type { Contender } from './contender.ts';
import { LostError } from './errors.ts';

/** The value of a contender's own key. One write at a time: the next begins when the one before has ended. */
export class OwnValue {
  readonly #contender: Contender;
  /** The revision of the key as far as it is known. */
  #at: Revision;

  constructor(contender: Contender) {
    this.#contender = contender;
    this.#at = contender.token;
  }

  /**
   * Writes the value if the key is still ours, whatever stands there: one round trip, and one
   * more for each answer that was lost and for each time that somebody else wrote to it.
   *
   * @throws LostError when the key is gone, hangs on no lease or the session is over;
   * AbortError when the signal fires, EtcdError when the cluster refuses: then the value may
   * be either, and stays that until the next write.
   */
  async write(value: string | Uint8Array, signal?: AbortSignal): Promise<void> {
    const { session, key, token } = this.#contender;
    const { etcd, lease } = session;
    const bytes = Buffer.from(value);
    for (;;) {
      const known = etcd.key(key).modRevision.equals(this.#at);
      const put = etcd.op.put(key, bytes, { lease });
      const done = await this.#contender.tryWhileHeld([known], [put], [etcd.op.get(key)], signal);
      if (done.succeeded) {
        this.#at = done.revision;
        return;
      }
      const [own] = done.results;
      if (own?.createRevision !== token || own.lease === undefined) throw new LostError('the own key', 'key-gone');
      this.#at = own.modRevision;
      // Most likely an earlier try, whose answer was lost.
      if (bytes.equals(own.valueBytes)) return;
    }
  }
}
