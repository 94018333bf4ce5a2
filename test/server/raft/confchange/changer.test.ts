import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ConfChangeSingle } from '../../../../src/server/raft/conf-change.ts';
import {
  type Change,
  type ChangeBase,
  enterJoint,
  leaveJoint,
  simpleChange,
} from '../../../../src/server/raft/confchange/changer.ts';
import { ConfChangeError } from '../../../../src/server/raft/errors.ts';
import { id } from '../support.ts';
import { baseOf, changes, show } from './changes.ts';

/** One change after the other, each a simple one. */
function chain(text: string, base: ChangeBase = baseOf()): ChangeBase {
  return inTurn(changes(text), base);
}

function inTurn(list: readonly ConfChangeSingle[], base: ChangeBase): ChangeBase {
  return list.reduce((at, change) => baseOf(simpleChange(at, [change])), base);
}

function throughJoint(list: readonly ConfChangeSingle[], base: ChangeBase, autoLeave: boolean): Change {
  return leaveJoint(baseOf(enterJoint(base, autoLeave, list)));
}

/** All that is known of members. */
function members({ progress }: Change): unknown {
  const rows = [...progress].map(
    ([member, p]) => [Number(member), p.isLearner, p.match, p.next, p.recentActive, p.state] as const,
  );
  return rows.sort(([a], [b]) => a - b);
}

describe('simpleChange', () => {
  it.each([
    ['v1', 'v2', '1 2'],
    ['v1 v2', 'r2', '1'],
    ['v1', 'l2', '1 learners 2'],
    // Any number of learners at once.
    ['v1', 'l2 l3 l4', '1 learners 2 3 4'],
    ['v1 l2 l3', 'r2 r3', '1'],
    // Promotion and demotion change one voter.
    ['v1 l2', 'v2', '1 2'],
    ['v1 v2', 'l2', '1 learners 2'],
    // What cancels out is no change of voters.
    ['v1 v2', 'r2 v2', '1 2'],
    ['v1', 'v2 r2 v3', '1 3'],
    // Twice is once; a stranger can't be removed; updates and nobody are nothing to raft.
    ['v1 v2', 'v2', '1 2'],
    ['v1 l2', 'l2', '1 learners 2'],
    ['v1', 'r2', '1'],
    ['v1', 'u1 u2', '1'],
    ['v1', 'v0', '1'],
    ['v1', 'l0', '1'],
    ['', 'v1', '1'],
  ])('from "%s" by "%s" to "%s"', (before, change, after) => {
    expect(show(simpleChange(chain(before), changes(change)))).toBe(after);
  });

  it.each([
    ['v1', 'v2 v3', 'more than one voter changed without entering joint config'],
    ['v1 v2', 'r2 v3', 'more than one voter changed without entering joint config'],
    ['v1 v2 v3', 'l2 l3', 'more than one voter changed without entering joint config'],
    ['v1', 'r1', 'removed all voters'],
    ['v1', 'l1', 'removed all voters'],
    ['', 'l1', 'removed all voters'],
    ['', '', 'removed all voters'],
  ])('from "%s" by "%s" is refused: %s', (before, change, text) => {
    expect(() => simpleChange(chain(before), changes(change))).toThrow(new ConfChangeError(text));
  });

  it('is refused inside a joint configuration', () => {
    const joint = baseOf(enterJoint(chain('v1'), false, changes('v2')));
    expect(() => simpleChange(joint, changes('l3'))).toThrow(
      new ConfChangeError("can't apply simple config change in joint config"),
    );
  });
});

describe('enterJoint', () => {
  it.each([
    ['v1', '', '1 && 1'],
    ['v1', 'v2 v3', '1 2 3 && 1'],
    ['v1 v2 v3', 'r1 r2 v4', '3 4 && 1 2 3'],
    ['v1', 'r1 v2', '2 && 1'],
    ['v1 l2', 'r2', '1 && 1'],
    ['v1', 'l2', '1 && 1 learners 2'],
    // A voter of the outgoing half is no learner yet.
    ['v1', 'v2 l1', '2 && 1 next 1'],
    ['v1 v2', 'r2 l2', '1 && 1 2 next 2'],
    // Minds can be changed.
    ['v1 v2', 'l2 v2', '1 2 && 1 2'],
    ['v1 v2', 'l2 r2', '1 && 1 2'],
    ['v1 v2', 'l2 r2 l2', '1 && 1 2 next 2'],
    ['v1', 'v2 l2', '1 && 1 learners 2'],
  ])('from "%s" by "%s" to "%s"', (before, change, after) => {
    expect(show(enterJoint(chain(before), false, changes(change)))).toBe(after);
    expect(show(enterJoint(chain(before), true, changes(change)))).toBe(`${after} auto`);
  });

  it('is refused without a voter to begin with, or to end with', () => {
    const zero = new ConfChangeError("can't make a zero-voter config joint");
    expect(() => enterJoint(baseOf(), false, changes('v1'))).toThrow(zero);
    expect(() => enterJoint(chain('v1 v2'), false, changes('r1 l2'))).toThrow(
      new ConfChangeError('removed all voters'),
    );
  });

  it('is refused inside another joint configuration', () => {
    const joint = baseOf(enterJoint(chain('v1'), true, []));
    expect(() => enterJoint(joint, false, [])).toThrow(new ConfChangeError('config is already joint'));
  });
});

describe('leaveJoint', () => {
  it.each([
    ['v1', 'r1 v2', '2'],
    ['v1 v2', 'l2', '1 learners 2'],
    ['v1 l3', 'v2 l1', '2 learners 1 3'],
    ['v1 v2 v3', 'r2 l3 v4 l5', '1 4 learners 3 5'],
  ])('after "%s" and "%s": "%s"', (before, change, after) => {
    const left = leaveJoint(baseOf(enterJoint(chain(before), true, changes(change))));
    expect(show(left)).toBe(after);
    const { voters, learners } = left.configuration;
    expect([...left.progress.keys()].sort()).toEqual([...voters.incoming, ...learners].sort());
    for (const [member, { isLearner }] of left.progress) expect(isLearner).toBe(learners.includes(member));
  });

  it('is refused outside a joint configuration', () => {
    expect(() => leaveJoint(chain('v1'))).toThrow(new ConfChangeError("can't leave a non-joint config"));
  });
});

describe('progress', () => {
  it('of a newcomer starts at the end of the log, as active, with a window of its own', () => {
    const { progress } = simpleChange(chain('v1'), changes('l2'));
    const newcomer = progress.get(id(2))!;
    expect(newcomer).toMatchObject({ match: 0, next: 10, isLearner: true, recentActive: true, state: 'StateProbe' });
    expect([newcomer.inflights.size, newcomer.inflights.maxBytes]).toEqual([7, 70]);
    expect(simpleChange(baseOf(undefined, 0), changes('v1')).progress.get(id(1))?.next).toBe(1);
  });

  it('stays through promotion and demotion, joint or not; in the outgoing half a voter votes on', () => {
    const base = chain('v1 v2');
    base.progress.get(id(2))!.match = 5;
    const demoted = simpleChange(base, changes('l2'));
    expect(demoted.progress.get(id(2))).toMatchObject({ match: 5, isLearner: true });
    expect(simpleChange(baseOf(demoted), changes('v2')).progress.get(id(2))).toMatchObject({
      match: 5,
      isLearner: false,
    });
    const joint = enterJoint(base, false, changes('l2'));
    expect(joint.progress.get(id(2))).toMatchObject({ match: 5, isLearner: false });
    expect(leaveJoint(baseOf(joint)).progress.get(id(2))).toMatchObject({ match: 5, isLearner: true });
  });

  it('of a removed voter lasts until the joint configuration is left', () => {
    const joint = enterJoint(chain('v1 v2'), false, changes('r2'));
    expect(joint.progress.has(id(2))).toBe(true);
    expect(leaveJoint(baseOf(joint)).progress.has(id(2))).toBe(false);
    expect(simpleChange(chain('v1 v2'), changes('r2')).progress.has(id(2))).toBe(false);
  });

  it('of before is not touched, by what is done or by what is refused', () => {
    const base = chain('v1 v2 l3');
    const [shown, known] = [show(base), members(base)];
    simpleChange(base, changes('l2'));
    const joint = baseOf(enterJoint(base, true, changes('r1 l2 v3')));
    const [jointShown, jointKnown] = [show(joint), members(joint)];
    leaveJoint(joint);
    expect(() => simpleChange(base, changes('l2 v3 r1'))).toThrow(ConfChangeError);
    expect([show(base), members(base)]).toEqual([shown, known]);
    expect([show(joint), members(joint)]).toEqual([jointShown, jointKnown]);
  });
});

describe('a chain of simple changes', () => {
  it('and one joint configuration with all of them lead to the same; autoLeave does not change it', () => {
    // Member 1 votes throughout, or a chain might come by a configuration without voters.
    const change = fc
      .tuple(fc.constantFrom('v', 'l', 'r', 'u'), fc.integer({ min: 2, max: 8 }))
      .map(([kind, n]) => changes(`${kind}${n}`)[0]!);
    const list = fc.array(change, { maxLength: 12 });
    fc.assert(
      fc.property(list, list, (setUp, wanted) => {
        const base = inTurn(setUp, chain('v1'));
        const one = inTurn(wanted, base);
        for (const autoLeave of [false, true]) {
          const other = throughJoint(wanted, base, autoLeave);
          expect(other.configuration).toEqual(one.configuration);
          expect(members(other)).toEqual(members(one));
        }
      }),
      { numRuns: 1_000 },
    );
  });
});
