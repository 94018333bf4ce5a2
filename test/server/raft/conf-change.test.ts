import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { MemberId } from '../../../src/protocol/int64.ts';
import { EMPTY, WireError } from '../../../src/protocol/wire.ts';
import {
  asV2,
  type ConfChange,
  type ConfChangeV1,
  type ConfChangeV2,
  confChangeEntry,
  entersJoint,
  LEAVE_JOINT,
  leavesJoint,
  readConfChange,
  type Transition,
} from '../../../src/server/raft/conf-change.ts';
import { RaftInvariantError } from '../../../src/server/raft/errors.ts';
import { type Entry, proposal } from '../../../src/server/raft/types.ts';
import { changes } from './confchange/changes.ts';
import { bytes, entry, id } from './support.ts';

const v1 = (fields: Partial<ConfChangeV1>): ConfChangeV1 => {
  return { type: 'add-voter', nodeId: id(1), id: 0n, context: EMPTY, ...fields };
};
const v2 = (transition: Transition, text: string, context: Uint8Array = EMPTY): ConfChangeV2 => {
  return { transition, changes: changes(text), context };
};
const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text.replaceAll(' ', ''), 'hex'));
const spaced = (data: Uint8Array): string =>
  Buffer.from(data)
    .toString('hex')
    .replace(/..(?=.)/g, '$& ');
const carrying = (change: ConfChange, data: string): Entry => ({ ...confChangeEntry(change), data: hex(data) });

describe('the bytes of a change', () => {
  it.each<[string, ConfChange, string]>([
    // Field 1 is the application's number, 2 the kind, 3 the member, 4 the context; etcd writes zeros too.
    ['a first founder', v1({}), '08 00 10 00 18 01'],
    [
      'a removal',
      v1({ type: 'remove', nodeId: id(300), id: 7n, context: bytes('x') }),
      '08 07 10 01 18 ac 02 22 01 78',
    ],
    ['an update', v1({ type: 'update', id: 1n }), '08 01 10 02 18 01'],
    ['a learner', v1({ type: 'add-learner', id: 1n }), '08 01 10 03 18 01'],
    // As found in the log of an etcd 3.4, but for the context.
    [
      'a founder of etcd',
      v1({ nodeId: 8625955443961246609n as MemberId }),
      '08 00 10 00 18 91 e7 a0 ad e2 98 e3 da 77',
    ],
    [
      'a learner of etcd',
      v1({ type: 'add-learner', nodeId: 10067784266179204095n as MemberId, id: 3715929275841745412n }),
      '08 84 a4 96 88 d1 bf e8 c8 33 10 03 18 ff a7 83 e7 ad 8e fd db 8b 01',
    ],
    // Field 1 is the transition, 2 each change (1 its kind, 2 its member), 3 the context.
    ['a list of one', v2('auto', 'v1'), '08 00 12 04 08 00 10 01'],
    ['a list of two', v2('explicit', 'v1 l300'), '08 02 12 04 08 00 10 01 12 05 08 03 10 ac 02'],
    ['an empty list', v2('implicit', '', bytes('x')), '08 01 1a 01 78'],
    ['the way out with a context', v2('auto', '', bytes('x')), '08 00 1a 01 78'],
    // As etcd's leader proposes it, so that no quota refuses it.
    ['the way out', LEAVE_JOINT, ''],
  ])('are those of etcd: %s', (_, change, expected) => {
    const made = confChangeEntry(change);
    expect(spaced(made.data)).toBe(expected);
    expect(made).toMatchObject({
      term: 0,
      index: 0,
      type: 'changes' in change ? 'EntryConfChangeV2' : 'EntryConfChange',
    });
    expect(readConfChange(made)).toEqual(change);
  });

  it('are read too as newer releases write them, without zeros', () => {
    expect(readConfChange(carrying(v1({}), '18 01'))).toEqual(v1({}));
    expect(readConfChange(carrying(v2('auto', 'v1'), '12 02 10 01'))).toEqual(v2('auto', 'v1'));
    expect(readConfChange(carrying(LEAVE_JOINT, '08 00'))).toEqual(LEAVE_JOINT);
  });

  it('are read as they were written, whatever the change', () => {
    const member = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((n) => n as MemberId);
    const type = fc.constantFrom('add-voter', 'add-learner', 'remove', 'update');
    const context = fc.uint8Array({ maxLength: 200 });
    const single = fc.record({ type, nodeId: member });
    const one = fc.record({ type, nodeId: member, id: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), context });
    const many = fc.record({
      transition: fc.constantFrom<Transition[]>('auto', 'implicit', 'explicit'),
      changes: fc.array(single, { maxLength: 9 }),
      context,
    });
    fc.assert(
      fc.property(fc.oneof<[fc.Arbitrary<ConfChange>, fc.Arbitrary<ConfChange>]>(one, many), (change) => {
        expect(readConfChange(confChangeEntry(change))).toEqual(change);
      }),
      { numRuns: 1_000 },
    );
  });

  it('are memory of their own, which no later message writes to or keeps alive', () => {
    for (const { data } of [v1({}), v2('auto', 'v1')].map(confChangeEntry)) {
      expect(data.buffer.byteLength).toBe(data.length);
    }
  });

  it('that are none, or of a kind that nobody knows, are refused', () => {
    expect(() => readConfChange(carrying(v1({}), '08'))).toThrow(WireError);
    expect(() => readConfChange(carrying(v1({}), '10 04'))).toThrow(RaftInvariantError);
    expect(() => readConfChange(carrying(LEAVE_JOINT, '08 03'))).toThrow(RaftInvariantError);
    expect(() => readConfChange(entry(1, 1))).toThrow(RaftInvariantError);
    expect(() => readConfChange(proposal(bytes('x')))).toThrow(RaftInvariantError);
  });
});

describe('how a change is made', () => {
  it.each<[Transition, string, joint: boolean | undefined]>([
    ['auto', '', undefined],
    ['auto', 'v1', undefined],
    // More than one always goes through a joint configuration, even learners.
    ['auto', 'l1 l2', true],
    ['implicit', 'v1', true],
    ['implicit', '', true],
    ['explicit', 'v1', false],
    ['explicit', 'v1 v2', false],
  ])('%s "%s": joint with autoLeave %s', (transition, text, joint) => {
    expect(entersJoint(v2(transition, text))?.autoLeave).toBe(joint);
  });

  it('nothing at all, and auto, is the way out; a context does not matter', () => {
    expect(leavesJoint(LEAVE_JOINT)).toBe(true);
    expect(leavesJoint(v2('auto', '', bytes('x')))).toBe(true);
    expect(leavesJoint(v2('auto', 'v1'))).toBe(false);
    expect(leavesJoint(v2('implicit', ''))).toBe(false);
    expect(leavesJoint(v2('explicit', ''))).toBe(false);
  });

  it('the first form is the second with one change', () => {
    expect(asV2(v1({ type: 'remove', nodeId: id(4), id: 9n, context: bytes('x') }))).toEqual(
      v2('auto', 'r4', bytes('x')),
    );
    const change = v2('explicit', 'v1 l2', bytes('x'));
    expect(asV2(change)).toBe(change);
  });
});
