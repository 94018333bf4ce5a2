import { afterEach, describe, expect, it } from 'vitest';
import { leaseId } from '../../../src/protocol/int64.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { type AdminClient, type Answer, adminClient, scripted } from './callers.ts';

let etcd: AdminClient;
let clock: VirtualClock;
afterEach(() => etcd[Symbol.dispose]());

/** A member that gives this answer to a lock request. */
function answering(answer: Answer): AdminClient {
  clock = new VirtualClock();
  const status: Answer = { message: { header: { clusterId: 1n, memberId: 1n }, version: '3.5.30', leader: 1n } };
  const { transports } = scripted({ unary: (path) => (path.endsWith('/Lock') ? answer : status) });
  etcd = adminClient({ endpoints: ['a:1'], transports, clock, timeoutMs: 1_000 });
  return etcd;
}

const lease = leaseId(1n);
const serverGaveUp: Answer = { failure: { grpcCode: 2, details: 'context deadline exceeded', sent: 'maybe' } };

describe('a call that waits in the server', () => {
  it("has no deadline of the client's, and ends by its signal", async () => {
    const stop = new AbortController();
    const waiting = answering('hang').locks.lock('n', lease, { signal: stop.signal });
    let ended = false;
    waiting.catch(() => {
      ended = true;
    });
    await clock.advance(3_600_000);
    expect(ended).toBe(false);
    stop.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'aborted', applied: 'maybe' });
    expect(clock.pending.all).toBe(0);
  });

  it('knows its deadline when the server is the first to notice, without a code', async () => {
    const waiting = answering(serverGaveUp).locks.lock('n', lease, { timeoutMs: 50 });
    const message = expect.stringMatching(/no answer within 50 ms.*the server removes the waiter/);
    await expect(waiting).rejects.toMatchObject({ code: 'deadline', applied: 'maybe', endpoint: 'a:1', message });
  });

  it("does not take the server's own deadline for the caller's", async () => {
    const waiting = answering(serverGaveUp).locks.lock('n', lease);
    const message = expect.not.stringContaining('no answer within');
    await expect(waiting).rejects.toMatchObject({ code: 'deadline', applied: 'maybe', message });
  });

  it('says when nothing was sent', async () => {
    const waiting = answering('hang').locks.lock('n', lease, { signal: AbortSignal.abort() });
    const message = expect.stringContaining('before the request was sent');
    await expect(waiting).rejects.toMatchObject({ code: 'aborted', applied: 'no', message });
  });
});
