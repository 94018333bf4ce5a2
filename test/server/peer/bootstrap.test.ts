import { describe, expect, it } from 'vitest';
import { memberIdOf } from '../../../src/server/member/ids.ts';
import type { Answer, Asker, Question } from '../../../src/server/peer/ask.ts';
import { type BootstrapOptions, checkNotBootstrapped, joinCluster } from '../../../src/server/peer/bootstrap.ts';
import { encodeMembers } from '../../../src/server/peer/peer-json.ts';
import type { BackendMember } from '../../../src/server/snapshot/backend-state.ts';
import { CLUSTER_ID } from './peer-server.ts';

const A = 'http://10.0.0.1:2380';
const B = 'http://10.0.0.2:2380';
const NEW = 'http://10.0.0.3:2380';
const LARGE = 2n ** 64n - 3n;

const MEMBERS: readonly BackendMember[] = [
  { id: 5n, name: 'old-a', peerUrls: [A], clientUrls: ['http://10.0.0.1:2379'], isLearner: false },
  { id: LARGE, name: '', peerUrls: [NEW], clientUrls: [], isLearner: true },
  { id: 7n, name: 'b', peerUrls: [B], clientUrls: ['http://10.0.0.2:2379'], isLearner: false },
];

interface Said {
  readonly status?: number;
  readonly clusterId?: string;
  readonly body: string;
}

/** What others say, by URL and path; one that says nothing can't be reached. */
function others(said: Readonly<Record<string, Said>>) {
  const asked: string[] = [];
  const asker = {
    async ask(url: string, { path }: Question): Promise<Answer> {
      asked.push(`${url}${path}`);
      const found = said[`${url}${path}`];
      if (found === undefined) throw new Error('no answer');
      const { status = 200, clusterId = CLUSTER_ID.toString(16), body } = found;
      return { status, headers: { 'x-etcd-cluster-id': clusterId }, body: Buffer.from(body) };
    },
  } as Pick<Asker, 'ask'> as Asker;
  return { asked, asker };
}

const RUNNING: Readonly<Record<string, Said>> = {
  [`${A}/members`]: { body: encodeMembers(MEMBERS) },
  [`${A}/version`]: { body: '{"etcdserver":"3.5.30","etcdcluster":"3.5.0"}' },
};

function setUp(said: Readonly<Record<string, Said>>, more: Partial<BootstrapOptions> = {}) {
  const { asked, asker } = others(said);
  const initialCluster = [
    { name: 'a', peerUrls: [A] },
    { name: 'b', peerUrls: [B] },
    { name: 'new', peerUrls: [NEW] },
  ];
  const resolve = async (host: string): Promise<readonly string[]> => [host];
  const common = { clusterToken: 'etcd-cluster', version: '3.5.30', timeoutMs: 1_000, resolve };
  return { asked, options: { name: 'new', initialCluster, asker, ...common, ...more } satisfies BootstrapOptions };
}

describe('joining a cluster', () => {
  it('takes ids from it, and names from what it was told', async () => {
    const { options } = setUp(RUNNING);
    expect(await joinCluster(options)).toEqual({
      clusterId: CLUSTER_ID,
      members: [{ ...MEMBERS[0], name: 'a' }, { ...MEMBERS[1], name: 'new' }, MEMBERS[2]],
    });
  });

  it('asks all the others until one answers in a way that counts', async () => {
    const { options, asked } = setUp({
      [`${A}/members`]: { body: '[]' },
      [`${B}/members`]: RUNNING[`${A}/members`]!,
      [`${B}/version`]: RUNNING[`${A}/version`]!,
    });
    expect(await joinCluster(options)).toMatchObject({ clusterId: CLUSTER_ID });
    expect(asked.slice(0, 2)).toEqual([`${A}/members`, `${B}/members`]);
  });

  it.each<[string, Said]>([
    ['an error', { status: 503, body: encodeMembers(MEMBERS) }],
    ['no cluster', { clusterId: '', body: encodeMembers(MEMBERS) }],
    ['no JSON', { body: 'the member is not running' }],
  ])('fails if %s is all there is', async (_, said) => {
    const { options, asked } = setUp({ [`${A}/members`]: said });
    await expect(joinCluster(options)).rejects.toThrow(
      'cannot fetch cluster info from peer urls: could not retrieve cluster information from the given URLs',
    );
    expect(asked).toEqual([`${A}/members`, `${B}/members`]);
  });

  it('fails if it was told of more or fewer members', async () => {
    const { options } = setUp(RUNNING, { initialCluster: [{ name: 'a', peerUrls: [A] }] });
    await expect(joinCluster(options)).rejects.toThrow(/^error validating peerURLs .*: member count is unequal$/);
  });

  it('fails if it was not added, or with other URLs', async () => {
    const members = [MEMBERS[0]!, { ...MEMBERS[1]!, peerUrls: ['http://10.0.0.9:2380'] }, MEMBERS[2]!];
    const { options } = setUp({ ...RUNNING, [`${A}/members`]: { body: encodeMembers(members) } });
    await expect(joinCluster(options)).rejects.toThrow(
      'PeerURLs: no match found for existing member (fffffffffffffffd, [http://10.0.0.9:2380])',
    );
  });

  it('takes URLs for the same whose hosts have the same addresses, and keeps what it was told', async () => {
    const named = 'http://b.example:2380';
    const initialCluster = [
      { name: 'a', peerUrls: [A] },
      { name: 'b', peerUrls: [named] },
      { name: 'new', peerUrls: [NEW] },
    ];
    const resolve = async (host: string): Promise<readonly string[]> => [host === 'b.example' ? '10.0.0.2' : host];
    const { options } = setUp(RUNNING, { initialCluster, resolve });
    const { members } = await joinCluster(options);
    expect(members.find(({ id }) => id === 7n)).toMatchObject({ name: 'b', peerUrls: [named] });
    const other = named.replace('2380', '2381');
    const moved = [initialCluster[0]!, { name: 'b', peerUrls: [other] }, initialCluster[2]!];
    await expect(joinCluster(setUp(RUNNING, { initialCluster: moved, resolve }).options)).rejects.toThrow('no match');
  });

  it.each([
    ['newer', '3.6.0'],
    ['too old', '2.3.0'],
    ['undecided', 'not_decided'],
  ])('fails if the cluster is %s', async (_, version) => {
    const said = { body: JSON.stringify({ etcdserver: version, etcdcluster: version }) };
    const { options } = setUp({ ...RUNNING, [`${A}/version`]: said });
    await expect(joinCluster(options)).rejects.toThrow('incompatible with current running cluster');
  });

  it('takes a cluster that is older', async () => {
    const said = { body: '{"etcdserver":"3.4.23","etcdcluster":"3.4.0"}' };
    await joinCluster(setUp({ ...RUNNING, [`${A}/version`]: said }).options);
  });
});

describe('founding a cluster', () => {
  const own = memberIdOf([NEW], 'etcd-cluster');
  const known = (clientUrls: readonly string[]): Said => ({
    body: encodeMembers([{ id: own, name: 'new', peerUrls: [NEW], clientUrls, isLearner: false }]),
  });

  it('fails for a member that has run', async () => {
    const { options } = setUp({ [`${B}/members`]: known(['http://10.0.0.3:2379']) });
    await expect(checkNotBootstrapped(options)).rejects.toThrow(
      `member ${own.toString(16)} has already been bootstrapped`,
    );
  });

  it.each([
    ['nobody answers', {}],
    ['it is known, and has not run', { [`${B}/members`]: known([]) }],
    ['it is unknown', { [`${B}/members`]: { body: encodeMembers(MEMBERS) } }],
  ])('goes on if %s', async (_, said) => {
    await checkNotBootstrapped(setUp(said).options);
  });
});
