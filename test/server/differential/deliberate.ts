/**
 * Differences that there are to be: where a real etcd crashes, hangs or lets in whom it should not, or where its
 * releases differ. Each has its reason. None changes what either server holds, or the two would drift apart.
 */
import { Cluster, KV, Lease, Maintenance } from '../../../src/protocol/generated/etcdserverpb.ts';
import type { Step } from './steps.ts';

/** Both answers to one step. */
export interface Answers {
  readonly ours: string;
  readonly theirs: string;
}

export interface Deliberate {
  readonly what: string;
  readonly why: string;
  readonly matches: (step: Step, answers: Answers) => boolean;
}

const REFUSED =
  /^(7 etcdserver: permission denied|3 etcdserver: user name is empty|16 etcdserver: invalid auth token)$/;

const UNREADABLE = /^13 grpc: error unmarshalling request: ./;

/** Of no keys at all. */
const EMPTY_HASH = 1_084_519_789;

/** Not asked for permissions by etcd before 3.5.28. */
const OPEN_BEFORE = new Set<string>([
  Lease.leaseLeases.path,
  Lease.leaseTimeToLive.path,
  Cluster.memberList.path,
  Maintenance.status.path,
  Maintenance.moveLeader.path,
  Maintenance.downgrade.path,
]);

const RAW = new Set<string>([Maintenance.defragment.path, Maintenance.hash.path, Maintenance.hashKV.path]);

export const DELIBERATE: readonly Deliberate[] = [
  {
    what: 'leases and members are nothing for everybody',
    why: 'releases before 3.5.28 do not ask who asks (CVE-2026-33413)',
    matches: (step, { ours, theirs }) =>
      (step.kind === 'keepalive' || (step.kind === 'call' && OPEN_BEFORE.has(step.method.path))) &&
      REFUSED.test(ours) &&
      !REFUSED.test(theirs),
  },
  {
    what: 'who may not do maintenance is told with a code',
    why: 'the texts of 3.5 reach clients as they are inside, and without a code; 3.6 has both',
    matches: (step, { ours, theirs }) =>
      step.kind === 'call' &&
      RAW.has(step.method.path) &&
      REFUSED.test(ours) &&
      theirs === `2 ${ours.replace(/^\d+ etcdserver/, 'auth')}`,
  },
  {
    what: 'why bytes are no message is told in other words',
    why: "the words are those of Go's library",
    matches: (step, { ours, theirs }) => step.kind === 'bytes' && UNREADABLE.test(ours) && UNREADABLE.test(theirs),
  },
  {
    what: 'the hash of everything is one of everything',
    why: 'asked without a revision, a real etcd answers with what it kept of a compaction at revision 0: nothing',
    matches: (step, { theirs }) =>
      step.kind === 'call' && step.method.path === Maintenance.hashKV.path && theirs.includes(`hash: ${EMPTY_HASH},`),
  },
  {
    what: 'a watcher that is over keeps no stream from telling its progress',
    why: 'a real etcd has the stream wait for it until the client cancels what has ended, which clients do not',
    matches: (step, { ours, theirs }) =>
      step.kind === 'progress' && ours.endsWith('}, one is over') && theirs === 'no progress, one is over',
  },
  {
    what: 'a stream with a watcher that waits for the future does not tell its progress',
    why: 'releases of 3.5 differ, and ours does as the later ones',
    matches: (step, { ours, theirs }) =>
      step.kind === 'progress' &&
      /^no progress, one waits for \d+ revisions$/.test(ours) &&
      /^{.*}, one waits for \d+ revisions$/.test(theirs),
  },
  {
    what: 'a transaction of nothing is for those alone who have said who they are',
    why: 'a real etcd looks at what is asked for only, and answers nobody with the revision',
    matches: (step, { ours, theirs }) =>
      step.kind === 'call' &&
      step.method.path === KV.txn.path &&
      ours === '3 etcdserver: user name is empty' &&
      /responses: \[\]}$/.test(theirs),
  },
];
