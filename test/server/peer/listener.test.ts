import { once } from 'node:events';
import net from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LeaseKeepAliveRequest } from '../../../src/protocol/generated/etcdserverpb.ts';
import type { PeerTls } from '../../../src/server/options.ts';
import { QUESTION_LIMIT_BYTES, QUESTION_MS } from '../../../src/server/peer/answers.ts';
import { PeerListener } from '../../../src/server/peer/listener.ts';
import { Refusals, RpcError } from '../../../src/server/refusals.ts';
import { type CertificateFiles, Certificates } from '../../support/certificates.ts';
import { SteppableClock } from '../../support/steppable-clock.ts';
import { CLUSTER_ID, membersOf, peer, SERVER_ID, servePeer } from './peer-server.ts';

describe('a peer port', () => {
  it('says until there is a member that there is none', async () => {
    await using server = await servePeer({ attach: false });
    expect((await fetch(`${server.url}/members`)).status).toBe(503);
  });

  it('says who is in the cluster, in the words of etcd', async () => {
    const members = membersOf([peer(SERVER_ID, { peerUrls: ['http://127.0.0.1:12382'], clientUrls: ['http://c'] })]);
    await using server = await servePeer({ host: { members } });
    const response = await fetch(`${server.url}/members`);
    expect(response.headers.get('x-etcd-cluster-id')).toBe(CLUSTER_ID.toString(16));
    expect(response.headers.get('content-type')).toBe('application/json');
    expect(await response.text()).toBe(
      `[{"id":${SERVER_ID},"peerURLs":["http://127.0.0.1:12382"],"name":"m7","clientURLs":["http://c"]}]\n`,
    );
  });

  it('says its version, and whether there is a downgrade', async () => {
    const members = membersOf([], { clusterVersion: undefined, downgradeTarget: '3.4.0' });
    await using server = await servePeer({ host: { members } });
    expect(await (await fetch(`${server.url}/version`)).text()).toBe(
      '{"etcdserver":"3.5.30","etcdcluster":"not_decided"}',
    );
    expect(await (await fetch(`${server.url}/downgrade/enabled`)).text()).toBe('true');
  });

  const EMPTY = Buffer.alloc(0);
  const lease = LeaseKeepAliveRequest.encode({ ID: 7n });
  it.each([
    ['GET', '/nothing', undefined, 404, '404 page not found'],
    ['GET', '/members/', undefined, 404, '404 page not found'],
    ['GET', '/constructor', undefined, 404, '404 page not found'],
    ['POST', '/members', undefined, 405, 'Method Not Allowed'],
    ['GET', '/leases', undefined, 405, 'Method Not Allowed'],
    ['POST', '/leases', Buffer.from([255]), 400, 'error unmarshalling request'],
    ['POST', '/leases', lease, 400, 'not a primary lessor'],
    ['POST', '/leases', EMPTY, 404, 'lease not found'],
    ['POST', '/leases/internal', Buffer.from([255]), 400, 'error unmarshalling request'],
    ['POST', '/members/promote/abc', undefined, 404, 'member abc not found in cluster'],
    ['POST', `/members/promote/${2n ** 64n}`, undefined, 404, `member ${2n ** 64n} not found in cluster`],
    ['POST', '/members/promote/1', undefined, 412, 'membership: can only promote a learner member'],
  ])('answers %s %s as etcd does', async (method, path, body, status, text) => {
    const refuse = (refusal: ConstructorParameters<typeof RpcError>[0]) => async (): Promise<never> => {
      throw new RpcError(refusal);
    };
    const renewLeaseHere = (id: bigint): Promise<number> =>
      id === 0n ? Promise.resolve(0) : refuse(Refusals.NotLeader)();
    const host = { renewLeaseHere, promoteHere: refuse(Refusals.MemberNotLearner) };
    await using server = await servePeer({ host });
    const response = await fetch(server.url + path, { method, ...(body && { body: new Uint8Array(body) }) });
    expect([response.status, await response.text()]).toEqual([status, `${text}\n`]);
  });

  it('tells of a fault of its own no more than that', async () => {
    const renewLeaseHere = async (): Promise<never> => {
      throw new Error('something that is nobody’s business');
    };
    await using server = await servePeer({ host: { renewLeaseHere } });
    const response = await fetch(`${server.url}/leases`, { method: 'POST', body: new Uint8Array(lease) });
    expect([response.status, await response.text()]).toEqual([500, 'Internal Server Error\n']);
  });

  it('reads no question that is too large', async () => {
    await using server = await servePeer();
    const body = new Uint8Array(QUESTION_LIMIT_BYTES + 1);
    const response = await fetch(`${server.url}/leases`, { method: 'POST', body });
    expect([response.status, await response.text()]).toEqual([400, 'error reading body\n']);
  });

  it('does not wait for a question that does not come', async () => {
    const clock = new SteppableClock();
    await using server = await servePeer({ clock });
    const socket = net.connect(Number(new URL(server.url).port), '127.0.0.1');
    socket.on('error', () => {});
    socket.write('POST /leases HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nab');
    const closed = once(socket, 'close');
    socket.resume();
    // The request is there once its connection can be told from one without.
    await expect
      .poll(() => {
        clock.step(QUESTION_MS);
        return socket.closed;
      })
      .toBe(true);
    await closed;
  });

  it('lets go of its connections when it is closed', async () => {
    await using server = await servePeer();
    const socket = net.connect(Number(new URL(server.url).port), '127.0.0.1');
    await once(socket, 'connect');
    const closed = once(socket, 'close');
    await fetch(`${server.url}/version`);
    await server.listener.close();
    await closed;
    await expect(fetch(`${server.url}/version`)).rejects.toThrow();
  });

  it('is opened with the others or not at all', async () => {
    await using server = await servePeer();
    const taken = Number(new URL(server.url).port);
    await using other = await servePeer();
    const free = Number(new URL(other.url).port);
    await other.listener.close();
    const open = (...ports: number[]): Promise<PeerListener> => {
      const listen = ports.map((port) => ({ host: '127.0.0.1', port, secure: false }));
      return PeerListener.open({ listen, tls: undefined, clock: new SteppableClock() });
    };
    await expect(open(free, taken)).rejects.toMatchObject({ code: 'EADDRINUSE' });
    await (await open(free)).close();
  });
});

describe('a peer port with TLS', () => {
  let authority: Certificates;
  let member: CertificateFiles;
  let stranger: Certificates;
  beforeAll(async () => {
    authority = await Certificates.create();
    member = await authority.server('member');
    stranger = await Certificates.create('another CA');
  });
  afterAll(async () => {
    await authority[Symbol.asyncDispose]();
    await stranger[Symbol.asyncDispose]();
  });

  const tlsOf = (files: CertificateFiles, more: Partial<PeerTls> = {}): PeerTls => ({
    certFile: files.certPath,
    keyFile: files.keyPath,
    caFile: authority.ca.certPath,
    ...more,
  });
  const version = async (serverTls: PeerTls, askerTls: PeerTls): Promise<number> => {
    await using server = await servePeer({ serverTls, askerTls });
    expect(server.url).toMatch(/^https:/);
    return (await server.questions.versions()).size;
  };

  it('lets in who has a certificate of the CA', async () => {
    expect(await version(tlsOf(member), tlsOf(member))).toBe(1);
  });

  it('lets in nobody else', async () => {
    const theirs = await stranger.server('member');
    expect(await version(tlsOf(member), tlsOf(theirs))).toBe(0);
  });

  it('is not believed if its own is of another CA', async () => {
    const theirs = await stranger.server('member');
    const serverTls = tlsOf(theirs, { caFile: undefined });
    expect(await version(serverTls, tlsOf(member))).toBe(0);
    expect(await version(serverTls, tlsOf(member, { trustAnyServer: true }))).toBe(1);
  });

  it('lets in only whom it is told to', async () => {
    expect(await version(tlsOf(member, { allowedCommonNames: ['other', 'member'] }), tlsOf(member))).toBe(1);
    expect(await version(tlsOf(member, { allowedCommonNames: ['other'] }), tlsOf(member))).toBe(0);
    expect(await version(tlsOf(member, { allowedHostnames: ['localhost'] }), tlsOf(member))).toBe(1);
    expect(await version(tlsOf(member, { allowedHostnames: ['other.example'] }), tlsOf(member))).toBe(0);
  });

  it('does not take a common name for the name of a host', async () => {
    const named = await authority.issue({ name: 'named', commonName: 'localhost', usage: 'client' });
    const asker = tlsOf(member, { clientCertFile: named.certPath, clientKeyFile: named.keyPath });
    expect(await version(tlsOf(member), asker)).toBe(1);
    expect(await version(tlsOf(member, { allowedHostnames: ['localhost'] }), asker)).toBe(0);
  });

  it('lets in nobody from an address that his certificate does not name, unless it is told to', async () => {
    const far = await authority.issue({ name: 'far', usage: 'client', hosts: ['192.0.2.7', 'far.invalid'] });
    const asker = tlsOf(member, { clientCertFile: far.certPath, clientKeyFile: far.keyPath });
    expect(await version(tlsOf(member), asker)).toBe(0);
    expect(await version(tlsOf(member, { skipAddressCheck: true }), asker)).toBe(1);
  });

  it('is left by who wants another name in its certificate', async () => {
    expect(await version(tlsOf(member), tlsOf(member, { allowedCommonNames: ['member'] }))).toBe(1);
    expect(await version(tlsOf(member), tlsOf(member, { allowedCommonNames: ['other'] }))).toBe(0);
  });

  it('is shown the certificate for clients where there is one', async () => {
    const client = await authority.issue({ name: 'as-client', commonName: 'as-client', usage: 'client' });
    const askerTls = tlsOf(member, { clientCertFile: client.certPath, clientKeyFile: client.keyPath });
    expect(await version(tlsOf(member, { allowedCommonNames: ['as-client'] }), askerTls)).toBe(1);
  });
});
