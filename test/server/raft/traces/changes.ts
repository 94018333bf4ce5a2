/**
 * Changes of configuration as traces write them: `v1` adds a voter, `l2` a learner, `r3` removes, `u4` updates.
 *
 * @module
 */
import { type MemberId, memberId } from '../../../../src/protocol/int64.ts';
import type { ConfChangeSingle, ConfChangeType } from '../../../../src/server/raft/index.ts';
import { CommandError } from './command-set.ts';
import { goQuote } from './go-quote.ts';

const TYPES: ReadonlyMap<string, ConfChangeType> = new Map([
  ['v', 'add-voter'],
  ['l', 'add-learner'],
  ['r', 'remove'],
  ['u', 'update'],
]);
const MAX_UINT64 = 2n ** 64n - 1n;

/** The changes that an input asks for; none if it is empty. */
export function readChanges(input: string): readonly ConfChangeSingle[] {
  return input === '' ? [] : input.split(' ').map(readChange);
}

function readChange(token: string): ConfChangeSingle {
  if (token.length < 2) throw new CommandError(`unknown token ${token}`);
  const type = TYPES.get(token.slice(0, 1));
  if (type === undefined) throw new CommandError(`unknown input: ${token}`);
  return { type, nodeId: readId(token.slice(1)) };
}

function readId(digits: string): MemberId {
  const fault = /^\d+$/.test(digits) ? 'value out of range' : 'invalid syntax';
  if (fault === 'invalid syntax' || BigInt(digits) > MAX_UINT64) {
    throw new CommandError(`strconv.ParseUint: parsing ${goQuote(new TextEncoder().encode(digits))}: ${fault}`);
  }
  return memberId(BigInt(digits));
}
