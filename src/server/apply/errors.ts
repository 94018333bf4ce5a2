/**
 * What a state machine can't go on after.
 *
 * @module
 */

/**
 * An entry that means a bug, or a log of a version of etcd that this one does not know. Applying it in part would make
 * this member another than the others, so it must stop. Messages name kinds and numbers, never what is in a request.
 */
export class ApplyError extends Error {
  override name = 'ApplyError';
  /** Index of the entry. */
  readonly index: number;

  constructor(index: number, reason: string, options?: ErrorOptions) {
    super(`entry ${index} can't be applied: ${reason}`, options);
    this.index = index;
  }
}
