/**
 * The Cluster service: who is in the cluster.
 *
 * Its headers have no revision. What a change needs (members that have started, a quorum that is there) is checked by
 * the member; here only addresses are, since a bad one would reach every member through the log. etcd lets `MemberUpdate`
 * set addresses that no member can dial, and dies of it: here they are refused, with the text that `MemberAdd` has. So
 * are some that etcd adds: sockets of Unix, and addresses without a host, with a user, a query or a port above 65535.
 *
 * @module
 */
import { Cluster, type Member, type MemberAddRequest } from '../../protocol/generated/etcdserverpb.ts';
import type { Init } from '../../protocol/wire.ts';
import { memberIdOf } from '../member/ids.ts';
import type { ServingMember } from '../member/serving.ts';
import { Refusals, RpcError } from '../refusals.ts';
import type { Method } from '../rpc/call.ts';
import type { BackendMember } from '../snapshot/backend-state.ts';
import type { ApiOptions, Guard } from './guard.ts';
import { memberHeader } from './header.ts';
import { checkedFirst } from './kv-check.ts';

/** A scheme, a host or an IPv6 address in brackets, a port, and nothing behind it. */
const PEER_URL = /^https?:\/\/(?:[^\s/?#@:[\]]+|\[[0-9A-Fa-f:.%]+\]):\d{1,5}$/;

/** Whether members can be dialled at these addresses. */
export function arePeerUrls(urls: readonly string[]): boolean {
  return urls.length > 0 && urls.every((url) => PEER_URL.test(url) && Number(/\d+$/.exec(url)) < 65_536);
}

/** See the head of this file. */
export function clusterMethods(member: ServingMember, guard: Guard, { random }: ApiOptions): readonly Method[] {
  const reply = (members: readonly BackendMember[]) => ({
    header: memberHeader(member),
    members: wireMembers(members),
  });
  return [
    checkedFirst(
      guard.unary(Cluster.memberAdd, async ({ peerURLs, isLearner }, { signal }) => {
        const peerUrls = trimmed(peerURLs);
        const id = unusedId(member, peerUrls, random);
        const added: BackendMember = { id, name: '', peerUrls, clientUrls: [], isLearner };
        const members = await member.changeMembers({ type: 'add', member: added }, signal);
        return { ...reply(members), member: wireMember(added) };
      }),
      ({ peerURLs }: MemberAddRequest) => (arePeerUrls(trimmed(peerURLs)) ? undefined : Refusals.BadMemberUrls),
    ),
    guard.unary(Cluster.memberRemove, async ({ ID: id }, { signal }) =>
      reply(await member.changeMembers({ type: 'remove', id }, signal)),
    ),
    guard.unary(Cluster.memberUpdate, async ({ ID: id, peerURLs: peerUrls }, { signal }) => {
      if (!arePeerUrls(peerUrls)) {
        throw new RpcError(member.state.members.get(id) ? Refusals.BadMemberUrls : Refusals.MemberNotFound);
      }
      return reply(await member.changeMembers({ type: 'update', id, peerUrls }, signal));
    }),
    guard.unary(Cluster.memberPromote, async ({ ID: id }, { signal }) =>
      reply(await member.changeMembers({ type: 'promote', id }, signal)),
    ),
    guard.unary(Cluster.memberList, async ({ linearizable }, { signal }) => {
      if (linearizable) await member.linearize(signal);
      return reply(member.state.members.list());
    }),
  ];
}

function trimmed(urls: readonly string[]): readonly string[] {
  return urls.map((url) => url.trim()).sort();
}

/** etcd takes the time of day to tell a member from one that was at the same addresses before; chance does too. */
function unusedId({ state }: ServingMember, peerUrls: readonly string[], random: () => number): bigint {
  for (let attempt = 0; ; attempt += 1) {
    const id = memberIdOf(peerUrls, `${random()} ${attempt}`);
    if (id !== 0n && !state.members.get(id) && !state.members.wasRemoved(id)) return id;
  }
}

function wireMembers(members: readonly BackendMember[]): Init<Member>[] {
  return members.toSorted((a, b) => (a.id < b.id ? -1 : 1)).map(wireMember);
}

function wireMember({ id, name, peerUrls, clientUrls, isLearner }: BackendMember): Init<Member> {
  return { ID: id, name, peerURLs: peerUrls, clientURLs: clientUrls, isLearner };
}
