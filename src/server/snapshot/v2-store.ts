/**
 * Who is in the cluster, as the store of etcd's API version 2 has it.
 *
 * A server 3.5 still keeps members there, and what its snapshots carry beside the keys is that store, as JSON. It ends
 * if a snapshot comes without. So ours carry one, with what servers look for in it and nothing else: members, removed
 * ones, the version of the cluster. And from theirs we take what their keys' image lacks: the addresses for clients.
 *
 * A node is a directory with children, or has a value; `/0` is the cluster's, `/1` that of clients, which is empty.
 *
 * Source: the `.snap` files of etcd 3.5.
 *
 * @module
 */
import { z } from 'zod';
import type { BackendMember, BackendState } from './backend-state.ts';

/** Nothing in it ends by itself: Go's zero time says so. */
const NEVER = '0001-01-01T00:00:00Z';

/** Of its kind there is only this one. */
const STORE_VERSION = 2;

interface Node {
  readonly Path: string;
  readonly CreatedIndex: number;
  readonly ModifiedIndex: number;
  readonly ExpireTime: string;
  readonly Value: string;
  readonly Children: Readonly<Record<string, Node>> | null;
}

/** What a member says of itself. */
export interface V2Attributes {
  readonly name: string;
  readonly clientUrls: readonly string[];
}

/** The store for a snapshot. */
export function encodeV2Store(state: Pick<BackendState, 'members' | 'removedMembers' | 'clusterVersion'>): Uint8Array {
  const { members, removedMembers, clusterVersion } = state;
  const cluster: Record<string, Node> = {
    members: directory('/0/members', Array.from(members, memberNode)),
  };
  const removed = Array.from(removedMembers, (id) => leaf(`/0/removed_members/${id.toString(16)}`, ''));
  if (removed.length > 0) cluster.removed_members = directory('/0/removed_members', removed);
  if (clusterVersion !== undefined) cluster.version = leaf('/0/version', clusterVersion);
  const root = {
    ...directory('/', []),
    Children: { 0: { ...directory('/0', []), Children: cluster }, 1: directory('/1', []) },
  };
  return Buffer.from(JSON.stringify({ Root: root, CurrentIndex: 1, CurrentVersion: STORE_VERSION }));
}

const attributesJson = z.object({ name: z.string().nullish(), clientURLs: z.array(z.string()).nullish() });
const storeJson = z.object({
  Root: z.object({
    Children: z.object({
      0: z.object({
        Children: z.object({
          members: z.object({
            Children: z.record(
              z.string().regex(/^[0-9a-f]{1,16}$/),
              z.object({ Children: z.object({ attributes: z.object({ Value: z.string() }).optional() }) }),
            ),
          }),
        }),
      }),
    }),
  }),
});

/** What members say of themselves, by their ids; nothing if the bytes are no such store. */
export function decodeV2Attributes(bytes: Uint8Array): ReadonlyMap<bigint, V2Attributes> {
  const found = new Map<bigint, V2Attributes>();
  const store = storeJson.safeParse(parse(Buffer.from(bytes).toString()));
  if (!store.success) return found;
  for (const [id, node] of Object.entries(store.data.Root.Children[0].Children.members.Children)) {
    const attributes = attributesJson.safeParse(parse(node.Children.attributes?.Value ?? ''));
    if (!attributes.success) continue;
    const { name, clientURLs } = attributes.data;
    found.set(BigInt(`0x${id}`), { name: name ?? '', clientUrls: clientURLs ?? [] });
  }
  return found;
}

function memberNode({ id, name, peerUrls, clientUrls, isLearner }: BackendMember): Node {
  const path = `/0/members/${id.toString(16)}`;
  const raft = { peerURLs: peerUrls, ...(isLearner && { isLearner }) };
  const nodes = [leaf(`${path}/raftAttributes`, JSON.stringify(raft))];
  const own = { ...(name !== '' && { name }), ...(clientUrls.length > 0 && { clientURLs: clientUrls }) };
  if (name !== '') nodes.push(leaf(`${path}/attributes`, JSON.stringify(own)));
  return directory(path, nodes);
}

function directory(path: string, children: readonly Node[]): Node {
  const named = children.map((child): [string, Node] => [child.Path.slice(child.Path.lastIndexOf('/') + 1), child]);
  return { ...leaf(path, ''), Children: Object.fromEntries(named) };
}

function leaf(path: string, value: string): Node {
  const [CreatedIndex, ModifiedIndex] = [1, 1];
  return { Path: path, CreatedIndex, ModifiedIndex, ExpireTime: NEVER, Value: value, Children: null };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
