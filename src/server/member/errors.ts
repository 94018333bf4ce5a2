/**
 * Why a member ended, where that is nobody's fault.
 *
 * @module
 */

/** Why a member ended that was removed from its cluster. */
export class MemberRemovedError extends Error {
  override name = 'MemberRemovedError';

  constructor() {
    super('the member was removed from its cluster');
  }
}
