/**
 * The three values of etcd's backend that are JSON, as Go writes them.
 *
 * Ids are numbers of up to 64 bits there, more than a JavaScript number holds: they are written by hand, and read from
 * digits that stay text.
 *
 * @module
 */
import { z } from 'zod';
import type { ConfState } from '../../protocol/generated/raftpb.ts';
import type { BackendMember } from './backend-state.ts';

const urls = z.array(z.string()).nullish();
const memberJson = z.object({
  peerURLs: urls,
  isLearner: z.boolean().optional(),
  name: z.string().optional(),
  clientURLs: urls,
});
const ids = z.array(z.string().regex(/^\d+$/)).nullish();
const confStateJson = z.object({
  voters: ids,
  learners: ids,
  voters_outgoing: ids,
  learners_next: ids,
  auto_leave: z.boolean().optional(),
});
const downgradeJson = z.object({ 'target-version': z.string().optional(), enabled: z.boolean().optional() });

/** `{"id":1,"peerURLs":["…"],"isLearner":true,"name":"…","clientURLs":["…"]}`; what is empty is left out. */
export function encodeMember({ id, peerUrls, isLearner, name, clientUrls }: BackendMember): string {
  const fields = {
    peerURLs: peerUrls,
    ...(isLearner && { isLearner }),
    ...(name !== '' && { name }),
    ...(clientUrls.length > 0 && { clientURLs: clientUrls }),
  };
  return `{"id":${id},${JSON.stringify(fields).slice(1)}`;
}

/** @param id From the key of the row: the one in the JSON has lost digits. */
export function decodeMember(id: bigint, text: string): BackendMember {
  const { peerURLs, isLearner, name, clientURLs } = memberJson.parse(JSON.parse(text));
  return {
    id,
    name: name ?? '',
    peerUrls: peerURLs ?? [],
    clientUrls: clientURLs ?? [],
    isLearner: isLearner ?? false,
  };
}

/** `{"voters":[1],"auto_leave":false}`; empty lists are left out. */
export function encodeConfState(state: ConfState): string {
  const lists = Object.entries({
    voters: state.voters,
    learners: state.learners,
    voters_outgoing: state.votersOutgoing,
    learners_next: state.learnersNext,
  }).filter(([, list]) => list.length > 0);
  return `{${lists.map(([name, list]) => `"${name}":[${list.join(',')}],`).join('')}"auto_leave":${state.autoLeave}}`;
}

export function decodeConfState(text: string): ConfState {
  // It has no texts, so all digits are ids.
  const { voters, learners, ...rest } = confStateJson.parse(JSON.parse(text.replace(/\d+/g, '"$&"')));
  return {
    voters: (voters ?? []).map(BigInt),
    learners: (learners ?? []).map(BigInt),
    votersOutgoing: (rest.voters_outgoing ?? []).map(BigInt),
    learnersNext: (rest.learners_next ?? []).map(BigInt),
    autoLeave: rest.auto_leave ?? false,
  };
}

/** `{"target-version":"3.4.0","enabled":true}` */
export function encodeDowngrade(target: string): string {
  return JSON.stringify({ 'target-version': target, enabled: true });
}

/** The target; undefined if the downgrade was called off or has ended. */
export function decodeDowngrade(text: string): string | undefined {
  const { enabled, 'target-version': target } = downgradeJson.parse(JSON.parse(text));
  return enabled ? target : undefined;
}
