/**
 * Requests about the cluster that change no configuration: alarms, versions, what members say of themselves.
 *
 * @module
 */
import type { Outcome } from './outcome.ts';
import type { Appliers } from './parts.ts';

const CHANGED: Outcome = { type: 'cluster-change' };

export const CLUSTER_APPLIERS: Appliers<'alarm' | 'clusterVersionSet' | 'clusterMemberAttrSet' | 'downgradeInfoSet'> = {
  alarm: ({ alarms }, request) => ({ type: 'alarm', alarms: alarms.apply(request) }),
  clusterVersionSet: ({ members }, { ver }) => {
    members.setClusterVersion(ver);
    return CHANGED;
  },
  clusterMemberAttrSet: ({ members }, { memberID, memberAttributes }) => {
    members.setAttributes(memberID, memberAttributes?.name ?? '', memberAttributes?.clientUrls ?? []);
    return CHANGED;
  },
  downgradeInfoSet: ({ members }, { enabled, ver }) => {
    members.setDowngrade(enabled ? ver : undefined);
    return CHANGED;
  },
};
