/**
 * The record of one registration, as the store has it, and the only hand that writes it.
 *
 * Invariants:
 * 1. Every write demands that the key is as it was last known to be: absent, or of a certain revision. So a request that
 *    was delayed on its way finds another revision, and is refused; and what another has put there is never overwritten.
 * 2. What stands there is ours if it holds our nonce, whatever lease it hangs on and whatever became of the answer to the
 *    write: then it is adopted, by writing it again under the present lease.
 * 3. Each transaction, succeeded or not, says how the key was at a revision. What the watch tells of earlier ones is no
 *    news ({@link OwnRecord.asOf}).
 *
 * One call at a time.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import { EtcdError, type KeyValue, type Op, type Revision } from '../../../src/index.ts';
import { describeOwner, type Owner } from '../../names.ts';
import type { Session } from '../../session.ts';
import { InstanceIdTakenError } from '../errors.ts';
import type { ServiceInstance } from '../instance.ts';
import type { ServiceLayout } from '../record.ts';

/** See the head of this file. */
export class OwnRecord<M> {
  readonly key: string;
  readonly #layout: ServiceLayout<M>;
  readonly #name: string;
  readonly #id: string;
  readonly #nonce = randomBytes(12).toString('hex');
  readonly #owner: Owner;
  /** The revision of the key as far as it is known; 0 while it is absent. */
  #at: Revision | 0n = 0n;
  #asOf = 0n as Revision;

  constructor(layout: ServiceLayout<M>, name: string, id: string, owner: string | undefined) {
    this.key = layout.keyOf(name, id);
    this.#layout = layout;
    this.#name = name;
    this.#id = id;
    this.#owner = describeOwner(owner);
  }

  /** Up to which revision of the store it is known how the key is; 0 before the first answer. */
  get asOf(): Revision {
    return this.#asOf;
  }

  /** Whether it is in the store, as far as is known. */
  get present(): boolean {
    return this.#at !== 0n;
  }

  /** What would be stored. @throws InvalidArgumentError when the metadata do not fit their schema. */
  encode(instance: ServiceInstance<M>): Uint8Array {
    return this.#layout.encode({ instance, nonce: this.#nonce, owner: this.#owner });
  }

  /**
   * Puts the record under the session's lease, unless another has the id. One round trip; one more for each change that
   * was not known of. An error leaves open whether it was put: the next call finds out.
   *
   * @throws InstanceIdTakenError, with nothing written; EtcdError.
   */
  async put(session: Session, value: Uint8Array, signal: AbortSignal): Promise<void> {
    const { etcd, lease } = session;
    const put = etcd.op.put(this.key, value, { lease });
    for (;;) {
      const done = await this.#ifKnown(session, put, signal);
      if (done === undefined) {
        this.#at = this.#asOf;
        return;
      }
      this.#learn(done.found);
      // Most likely an earlier try, whose answer was lost.
      if (done.found?.lease === lease.id && Buffer.from(value).equals(done.found.valueBytes)) return;
    }
  }

  /**
   * Finds out whether the record is in the store: where it is known to be absent, a put of which nothing was heard may have
   * come nevertheless. One round trip. @throws EtcdError
   */
  async look(session: Session, signal: AbortSignal): Promise<void> {
    const done = await this.#ifKnown(session, session.etcd.op.get(this.key), signal);
    if (done !== undefined) this.#at = this.#ours(done.found);
  }

  /**
   * Takes the record away, and leaves the lease; so that the id may be another's meanwhile. Does nothing when it is not
   * known to be there, or not ours any more. @throws EtcdError
   */
  async withdraw(session: Session, signal: AbortSignal): Promise<void> {
    while (this.#at !== 0n) {
      const done = await this.#ifKnown(session, session.etcd.op.delete(this.key), signal);
      this.#at = this.#ours(done?.found);
    }
  }

  /** Does one thing if the key is as it is known to be: undefined; otherwise tells how it is. */
  async #ifKnown(
    { etcd, lease }: Session,
    op: Op<unknown>,
    signal: AbortSignal,
  ): Promise<{ readonly found: KeyValue<string> | undefined } | undefined> {
    const known = etcd.key(this.key).modRevision.equals(this.#at);
    try {
      const done = await etcd.txn({ if: [known], then: [op], else: [etcd.op.get(this.key)] }, { signal });
      this.#asOf = done.revision;
      return done.succeeded ? undefined : { found: done.results[0] };
    } catch (error) {
      // Asking for the lease makes the session itself notice that it is gone.
      if (error instanceof EtcdError && error.code === 'lease-not-found' && lease.alive) {
        await lease.keepAliveOnce({ signal }).catch(() => {});
      }
      throw error;
    }
  }

  #learn(found: KeyValue<string> | undefined): void {
    if (found === undefined) {
      this.#at = 0n;
      return;
    }
    if (this.#isOurs(found)) {
      this.#at = found.modRevision;
      return;
    }
    // Ours is not there any more.
    this.#at = 0n;
    const other = this.#layout.decode(this.key, found.valueBytes, this.#name);
    throw new InstanceIdTakenError(this.#name, this.#id, other.problem === undefined ? other.owner : undefined);
  }

  /** The revision of what was found, if it is ours; otherwise 0. */
  #ours(found: KeyValue<string> | undefined): Revision | 0n {
    return found !== undefined && this.#isOurs(found) ? found.modRevision : 0n;
  }

  #isOurs(found: KeyValue<string>): boolean {
    const decoded = this.#layout.decode(this.key, found.valueBytes, this.#name);
    return decoded.problem === undefined && decoded.nonce === this.#nonce;
  }
}
