import { describe, expect, it } from 'vitest';
import { AtLeader } from '../../../src/server/member/at-leader.ts';
import { Changes } from '../../../src/server/member/changes.ts';
import type { PeerAnswer } from '../../../src/server/member/peers.ts';
import { type Refusal, Refusals } from '../../../src/server/refusals.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { refusalOf } from './support.ts';

const SELF = 1n;

function asking(leader: bigint) {
  const clock = new VirtualClock();
  const changes = new Changes(clock);
  const at = { leader };
  const position = () => ({ leader: at.leader, term: 1, committed: 0, applied: 0, isLearner: false });
  return { clock, changes, at, asks: new AtLeader({ id: SELF, clock, changes, position, timeoutMs: 7_000 }) };
}

const here = async (): Promise<string | undefined> => 'here';

function refused(refusal: Refusal): PeerAnswer<string> {
  return { type: 'refused', refusal };
}

describe('a question to the leader', () => {
  it('is answered here, or there', async () => {
    const { asks, at } = asking(SELF);
    const there = async (leader: bigint): Promise<PeerAnswer<string>> => ({ type: 'answer', value: `${leader}` });
    expect(await asks.ask({ here, there }, undefined)).toBe('here');
    at.leader = 2n;
    expect(await asks.ask({ here, there }, undefined)).toBe('2');
  });

  it('goes on to the next leader if one says it leads no more, or does not answer', async () => {
    const { asks, at, clock } = asking(2n);
    const asked: bigint[] = [];
    const there = async (leader: bigint): Promise<PeerAnswer<string>> => {
      asked.push(leader);
      at.leader += 1n;
      if (leader === 2n) return refused({ ...Refusals.NotLeader });
      return leader === 3n ? { type: 'unreachable' } : { type: 'answer', value: 'at last' };
    };
    const answer = asks.ask({ here, there }, undefined);
    await clock.advance(200);
    expect([await answer, asked]).toEqual(['at last', [2n, 3n, 4n]]);
    expect(clock.pending.all).toBe(0);
  });

  it('ends with the leader’s own refusal', async () => {
    const { asks } = asking(2n);
    const there = async () => refused(Refusals.LearnerNotReady);
    expect(await refusalOf(asks.ask({ here, there }, undefined))).toBe(Refusals.LearnerNotReady.text);
  });

  it('of another member is not passed on', async () => {
    const { asks, at } = asking(2n);
    expect(await refusalOf(asks.ask({ here }, undefined))).toBe('etcdserver: not leader');
    at.leader = 0n;
    expect(await refusalOf(asks.ask({ here }, undefined))).toBe('etcdserver: not leader');
    at.leader = SELF;
    expect(await asks.ask({ here }, undefined)).toBe('here');
  });

  it.each([
    ['no leader', 0n, 'etcdserver: no leader'],
    ['one that does not answer', 2n, 'etcdserver: request timed out'],
    ['an own one that can not say', SELF, 'etcdserver: request timed out'],
  ])('ends in time with %s', async (_name, leader, text) => {
    const { asks, clock } = asking(leader);
    const there = async (): Promise<PeerAnswer<string>> => ({ type: 'unreachable' });
    const ended = refusalOf(asks.ask({ here: async () => undefined, there }, undefined));
    await clock.advance(7_100);
    expect(await ended).toBe(text);
    expect(clock.pending.all).toBe(0);
  });

  it('ends by its signal, and when the member does', async () => {
    const { asks, changes } = asking(0n);
    const there = async (): Promise<PeerAnswer<string>> => ({ type: 'unreachable' });
    const controller = new AbortController();
    const canceled = refusalOf(asks.ask({ here, there }, controller.signal));
    const stopped = refusalOf(asks.ask({ here, there }, undefined));
    controller.abort();
    expect(await canceled).toBe('context canceled');
    asks.stop();
    changes.stop();
    expect(await stopped).toBe('etcdserver: server stopped');
  });
});
