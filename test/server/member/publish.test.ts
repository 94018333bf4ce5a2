import { describe, expect, it } from 'vitest';
import { publish } from '../../../src/server/member/publish.ts';
import { Refusals, RpcError } from '../../../src/server/refusals.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';

/** A member that says who it is; each attempt ends as a test says. */
function saying(ending = new AbortController()) {
  const clock = new VirtualClock();
  const attempts: { readonly heard: (value: unknown) => void; readonly refused: (error: unknown) => void }[] = [];
  let outcome: unknown = 'none yet';
  const propose = (): Promise<unknown> => new Promise((heard, refused) => void attempts.push({ heard, refused }));
  const urls = { clientUrls: ['http://10.0.0.1:2379'], name: 'm1', id: 1n };
  publish({ ...urls, clock, propose, signal: ending.signal }).then(
    (value) => (outcome = value),
    (error: unknown) => (outcome = error),
  );
  return { clock, attempts, ending, outcome: () => outcome };
}

describe('a member that says who it is', () => {
  it('says it again soon when nothing is heard of it: it may be in an image and not among what is applied', async () => {
    const { clock, attempts, outcome } = saying();
    await clock.advance(900);
    expect(attempts).toHaveLength(1);
    await clock.advance(200);
    expect(attempts).toHaveLength(2);
    attempts[1]?.heard(undefined);
    await clock.advance(10_000);
    expect([attempts.length, outcome()]).toEqual([2, true]);
  });

  it('is heard also if it is the first that was, and late', async () => {
    const { clock, attempts, outcome } = saying();
    await clock.advance(2_500);
    expect(attempts).toHaveLength(3);
    attempts[0]?.heard(undefined);
    await clock.advance(0);
    expect(outcome()).toBe(true);
    attempts[1]?.refused(new RpcError(Refusals.Stopped));
    await clock.advance(10_000);
    expect([attempts.length, outcome()]).toEqual([3, true]);
  });

  it('says it again after a refusal, and not after a fault', async () => {
    const { clock, attempts, outcome } = saying();
    await clock.advance(0);
    attempts[0]?.refused(new RpcError(Refusals.ProposalDropped));
    await clock.advance(1_000);
    expect([attempts.length, outcome()]).toEqual([2, 'none yet']);
    const fault = new Error('a fault');
    attempts[1]?.refused(fault);
    await clock.advance(10_000);
    expect([attempts.length, outcome()]).toEqual([2, fault]);
  });

  it('is silent once it ends', async () => {
    const { clock, attempts, ending, outcome } = saying();
    await clock.advance(0);
    ending.abort();
    await clock.advance(10_000);
    expect([attempts.length, outcome()]).toEqual([1, false]);
  });
});
