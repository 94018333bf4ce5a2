import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it } from 'vitest';
import type { PeerHost } from '../../../src/server/member/peers.ts';
import { Refusals, RpcError } from '../../../src/server/refusals.ts';
import { CLUSTER_ID, membersOf, peer, SERVER_ID, servePeer } from './peer-server.ts';

const LEASE = 0x4c3f_a1fe_53a6_d505n;

const refusing = (refusal: ConstructorParameters<typeof RpcError>[0]) => async (): Promise<never> => {
  throw new RpcError(refusal);
};

describe('renewing a lease at another member', () => {
  it('takes its TTL, with all digits of its id', async () => {
    const asked: bigint[] = [];
    await using server = await servePeer({
      host: {
        renewLeaseHere: async (id) => {
          asked.push(id);
          return 600;
        },
      },
    });
    expect(await server.questions.renewLease(SERVER_ID, LEASE, undefined)).toEqual({ type: 'answer', value: 600 });
    expect(asked).toEqual([LEASE]);
  });

  it.each([
    ['that is gone', async () => 0],
    ['that is refused as not found', refusing(Refusals.LeaseNotFound)],
  ])('takes 0 for one %s', async (_, renewLeaseHere: PeerHost['renewLeaseHere']) => {
    await using server = await servePeer({ host: { renewLeaseHere } });
    expect(await server.questions.renewLease(SERVER_ID, LEASE, undefined)).toEqual({ type: 'answer', value: 0 });
  });

  it.each([Refusals.NotLeader, Refusals.Timeout, Refusals.Stopped])('has no answer where $text', async (refusal) => {
    await using server = await servePeer({ host: { renewLeaseHere: refusing(refusal) } });
    expect(await server.questions.renewLease(SERVER_ID, LEASE, undefined)).toEqual({ type: 'unreachable' });
  });

  it('tries all URLs of the member', async () => {
    await using closed = await servePeer();
    await closed[Symbol.asyncDispose]();
    await using server = await servePeer({ urls: [closed.url, '{url}'], host: { renewLeaseHere: async () => 5 } });
    expect(await server.questions.renewLease(SERVER_ID, LEASE, undefined)).toEqual({ type: 'answer', value: 5 });
  });

  it('ends when it is called off, and then lets go of the other side', async () => {
    let begun: () => void = () => {};
    const asked = new Promise<void>((resolve) => {
      begun = resolve;
    });
    let gone: Promise<void> | undefined;
    const renewLeaseHere = (_: bigint, signal: AbortSignal): Promise<number> => {
      gone = new Promise((resolve) => signal.addEventListener('abort', () => resolve()));
      begun();
      return new Promise(() => {});
    };
    await using server = await servePeer({ host: { renewLeaseHere } });
    const controller = new AbortController();
    const renewal = server.questions.renewLease(SERVER_ID, LEASE, controller.signal);
    await asked;
    controller.abort();
    expect(await renewal).toEqual({ type: 'unreachable' });
    await gone;
  });
});

describe('what is left of a lease at another member', () => {
  it('takes times and keys', async () => {
    const keys = [Buffer.from('a'), Buffer.from([0, 255])];
    const times = { remainingSeconds: 0, grantedSeconds: 600, keys };
    await using server = await servePeer({ host: { timeToLiveHere: async () => times } });
    const answer = await server.questions.timeToLive(SERVER_ID, LEASE, undefined);
    expect(answer).toMatchObject({ type: 'answer', value: { remainingSeconds: 0, grantedSeconds: 600 } });
    if (answer.type === 'answer') expect(answer.value.keys.map((key) => Buffer.from(key))).toEqual(keys);
  });

  it('takes -1 for one that is not there', async () => {
    const times = { remainingSeconds: -1, grantedSeconds: 0, keys: [] };
    await using server = await servePeer({ host: { timeToLiveHere: async () => times } });
    expect(await server.questions.timeToLive(SERVER_ID, LEASE, undefined)).toEqual({ type: 'answer', value: times });
  });

  it('has no answer of a member that does not lead', async () => {
    await using server = await servePeer({ host: { timeToLiveHere: refusing(Refusals.NotLeader) } });
    expect(await server.questions.timeToLive(SERVER_ID, LEASE, undefined)).toEqual({ type: 'unreachable' });
  });
});

describe('a promotion by another member', () => {
  it('takes the members after it', async () => {
    const learner = peer(2n ** 64n - 1n, { name: 'quo"id":1te', clientUrls: ['http://c'], isLearner: true });
    const members = [peer(SERVER_ID), learner];
    const asked: bigint[] = [];
    await using server = await servePeer({
      host: {
        promoteHere: async (id) => {
          asked.push(id);
          return members;
        },
      },
    });
    const answer = await server.questions.promote(SERVER_ID, learner.id, undefined);
    expect(answer).toEqual({ type: 'answer', value: members });
    expect(asked).toEqual([learner.id]);
  });

  it.each([Refusals.MemberNotFound, Refusals.MemberNotLearner, Refusals.LearnerNotReady])(
    'is refused as $text',
    async (refusal) => {
      await using server = await servePeer({ host: { promoteHere: refusing(refusal) } });
      expect(await server.questions.promote(SERVER_ID, 7n, undefined)).toEqual({ type: 'refused', refusal });
    },
  );

  it('has no answer of a member that does not lead', async () => {
    await using server = await servePeer({ host: { promoteHere: refusing(Refusals.NotLeader) } });
    expect(await server.questions.promote(SERVER_ID, 7n, undefined)).toEqual({ type: 'unreachable' });
  });
});

describe('the hash of another member', () => {
  it('is taken with what it is of', async () => {
    const hash = { hash: 4_000_000_000, hashRevision: 17, compactRevision: -1, revision: 20 };
    const asked: number[] = [];
    await using server = await servePeer({
      host: {
        hashKv: (revision) => {
          asked.push(revision);
          return hash;
        },
      },
    });
    expect(await server.questions.hashKv(SERVER_ID, 17, undefined)).toEqual({ type: 'answer', value: hash });
    expect(asked).toEqual([17]);
  });

  it('is of the revision that was asked about, where the answer does not say: so with etcd 3.5', async () => {
    const body = '{"header":{"revision":4},"hash":115310154,"compact_revision":-1}';
    await using etcd = await answering(body);
    await using server = await servePeer({ urls: [etcd.url] });
    const value = { hash: 115_310_154, hashRevision: 3, compactRevision: -1, revision: 4 };
    expect(await server.questions.hashKv(SERVER_ID, 3, undefined)).toEqual({ type: 'answer', value });
    expect(await server.questions.hashKv(SERVER_ID, 0, undefined)).toMatchObject({ value: { hashRevision: 4 } });
  });

  it.each([Refusals.Compacted, Refusals.FutureRevision])('is refused as $text', async (refusal) => {
    await using server = await servePeer({ host: { hashKv: () => refusal } });
    expect(await server.questions.hashKv(SERVER_ID, 9, undefined)).toEqual({ type: 'refused', refusal });
  });
});

describe('versions', () => {
  it('are those of the others that answer', async () => {
    await using server = await servePeer({ host: { version: '3.4.9' } });
    expect(await server.questions.versions()).toEqual(new Map([[SERVER_ID, '3.4.9']]));
  });

  it('are missing for one that does not say', async () => {
    await using other = await answering('no JSON');
    await using server = await servePeer({ urls: [other.url] });
    expect(await server.questions.versions()).toEqual(new Map());
  });
});

describe('an answer', () => {
  it('that has no end is not waited for', async () => {
    let ended = (): void => {};
    const closed = new Promise<void>((resolve) => {
      ended = resolve;
    });
    const endless = createServer((_, response) => {
      response.writeHead(200);
      const more = (): void => {
        while (response.write(Buffer.alloc(65_536)));
      };
      response.on('drain', more).once('close', ended);
      more();
    });
    await new Promise<void>((resolve) => endless.listen(0, '127.0.0.1', resolve));
    await using server = await servePeer({ urls: [`http://127.0.0.1:${(endless.address() as AddressInfo).port}`] });
    expect(await server.questions.promote(SERVER_ID, 7n, undefined)).toEqual({ type: 'unreachable' });
    await closed;
    endless.close();
  });

  it('of a member of another cluster has no hash', async () => {
    const other = { clusterId: CLUSTER_ID + 1n, members: membersOf([]) };
    await using server = await servePeer({ host: { ...other, hashKv: () => Refusals.Compacted } });
    expect(await server.questions.hashKv(SERVER_ID, 9, undefined)).toEqual({ type: 'unreachable' });
  });
});

/** Another server, which always says the same. */
async function answering(body: string): Promise<AsyncDisposable & { readonly url: string }> {
  const server = createServer((_, response) => response.end(body));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
