/**
 * The errors that an etcd server can answer, by the text it answers with.
 *
 * The text is the contract: three errors changed their gRPC code between 3.5 and
 * 3.6, and two reach the wire as UNKNOWN, while no text ever changed. So we match
 * on text, never on code.
 *
 * Source: etcd `api/v3rpc/rpctypes/error.go`, and what real servers answered.
 *
 * @module
 */

/**
 * What a table entry says about a write that was answered with it.
 *
 * `rejected`: the server refused it before, or while, applying it; nothing was written.
 * `unknown`: the write may have been applied, or may yet be; mostly, the server gave up waiting.
 */
type Outcome = 'rejected' | 'unknown';

const REJECTED: Outcome = 'rejected';
const UNKNOWN: Outcome = 'unknown';

const table = {
  'etcdserver: key is not provided': ['EmptyKey', REJECTED],
  'etcdserver: key not found': ['KeyNotFound', REJECTED],
  'etcdserver: value is provided': ['ValueProvided', REJECTED],
  'etcdserver: lease is provided': ['LeaseProvided', REJECTED],
  'etcdserver: too many operations in txn request': ['TooManyOps', REJECTED],
  'etcdserver: duplicate key given in txn request': ['DuplicateKey', REJECTED],
  'etcdserver: invalid client api version': ['InvalidClientApiVersion', REJECTED],
  'etcdserver: invalid sort option': ['InvalidSortOption', REJECTED],
  'etcdserver: mvcc: required revision has been compacted': ['Compacted', REJECTED],
  'etcdserver: mvcc: required revision is a future revision': ['FutureRevision', REJECTED],
  // The write with which the quota is overstepped is applied, and answered so all the same; later ones are refused.
  'etcdserver: mvcc: database space exceeded': ['NoSpace', UNKNOWN],
  'etcdserver: requested lease not found': ['LeaseNotFound', REJECTED],
  'etcdserver: lease already exists': ['LeaseExists', REJECTED],
  'etcdserver: too large lease TTL': ['LeaseTtlTooLarge', REJECTED],
  'etcdserver: watch canceled': ['WatchCanceled', REJECTED],
  'etcdserver: member ID already exist': ['MemberExists', REJECTED],
  'etcdserver: Peer URLs already exists': ['PeerUrlExists', REJECTED],
  'etcdserver: re-configuration failed due to not enough started members': ['NotEnoughStartedMembers', REJECTED],
  'etcdserver: given member URLs are invalid': ['BadMemberUrls', REJECTED],
  'etcdserver: member not found': ['MemberNotFound', REJECTED],
  'etcdserver: can only promote a learner member': ['MemberNotLearner', REJECTED],
  'etcdserver: can only promote a learner member which is in sync with leader': ['LearnerNotReady', REJECTED],
  'etcdserver: too many learner members in cluster': ['TooManyLearners', REJECTED],
  'etcdserver: cluster ID mismatch': ['ClusterIdMismatch', REJECTED],
  'etcdserver: request is too large': ['RequestTooLarge', REJECTED],
  'etcdserver: too many requests': ['TooManyRequests', REJECTED],
  'etcdserver: root user does not exist': ['RootUserNotFound', REJECTED],
  'etcdserver: root user does not have root role': ['RootRoleNotGranted', REJECTED],
  'etcdserver: user name already exists': ['UserExists', REJECTED],
  'etcdserver: user name is empty': ['UserEmpty', REJECTED],
  'etcdserver: user name not found': ['UserNotFound', REJECTED],
  'etcdserver: role name already exists': ['RoleExists', REJECTED],
  'etcdserver: role name not found': ['RoleNotFound', REJECTED],
  'etcdserver: role name is empty': ['RoleEmpty', REJECTED],
  'etcdserver: authentication failed, invalid user ID or password': ['AuthFailed', REJECTED],
  'etcdserver: permission not given': ['PermissionNotGiven', REJECTED],
  'etcdserver: permission denied': ['PermissionDenied', REJECTED],
  'etcdserver: role is not granted to the user': ['RoleNotGranted', REJECTED],
  'etcdserver: permission is not granted to the role': ['PermissionNotGranted', REJECTED],
  'etcdserver: authentication is not enabled': ['AuthNotEnabled', REJECTED],
  'etcdserver: invalid auth token': ['InvalidAuthToken', REJECTED],
  'etcdserver: invalid auth management': ['InvalidAuthManagement', REJECTED],
  'etcdserver: revision of auth store is old': ['AuthOldRevision', REJECTED],
  'etcdserver: no leader': ['NoLeader', REJECTED],
  'etcdserver: not leader': ['NotLeader', REJECTED],
  'etcdserver: leader changed': ['LeaderChanged', UNKNOWN],
  'etcdserver: not capable': ['NotCapable', REJECTED],
  'etcdserver: server stopped': ['Stopped', UNKNOWN],
  'etcdserver: request timed out': ['Timeout', UNKNOWN],
  'etcdserver: request timed out, possibly due to previous leader failure': ['TimeoutLeaderFailure', UNKNOWN],
  'etcdserver: request timed out, possibly due to connection lost': ['TimeoutConnectionLost', UNKNOWN],
  'etcdserver: request timed out, waiting for the applied index took too long': ['TimeoutAppliedIndex', UNKNOWN],
  'etcdserver: request timed out, leader transfer took too long': ['TimeoutLeaderTransfer', UNKNOWN],
  'etcdserver: unhealthy cluster': ['Unhealthy', REJECTED],
  'etcdserver: corrupt cluster': ['Corrupt', REJECTED],
  'etcdserver: rpc not supported for learner': ['NotSupportedForLearner', REJECTED],
  'etcdserver: bad leader transferee': ['BadLeaderTransferee', REJECTED],
  'etcdserver: wrong downgrade target version format': ['WrongDowngradeVersionFormat', REJECTED],
  'etcdserver: invalid downgrade target version': ['InvalidDowngradeTargetVersion', REJECTED],
  'etcdserver: cluster version not found during downgrade': ['ClusterVersionUnavailable', REJECTED],
  'etcdserver: cluster has a downgrade job in progress': ['DowngradeInProcess', REJECTED],
  'etcdserver: no inflight downgrade job': ['NoInflightDowngrade', REJECTED],
  'etcdserver: request canceled': ['Canceled', UNKNOWN],
  'etcdserver: request cancelled': ['Canceled', UNKNOWN],
  'etcdserver: context deadline exceeded': ['DeadlineExceeded', UNKNOWN],
  // A server that waited for a leader in vain, or was told to stop waiting; the code is DEADLINE_EXCEEDED or UNKNOWN.
  'context deadline exceeded': ['DeadlineExceeded', UNKNOWN],
  'context canceled': ['Canceled', UNKNOWN],
  // Errors that a server leaks unmapped: no etcd code on the wire, but a text all the same.
  'auth: authentication failed, password was given for no password user': ['AuthFailed', REJECTED],
  'auth: user name is empty': ['UserEmpty', REJECTED],
  'auth: permission denied': ['PermissionDenied', REJECTED],
  'auth: invalid auth token': ['InvalidAuthToken', REJECTED],
  'auth: revision in header is old': ['AuthOldRevision', REJECTED],
  'not a primary lessor': ['NotPrimaryLessor', REJECTED],
  'raft proposal dropped': ['ProposalDropped', UNKNOWN],
  'mvcc: duplicate watch ID provided on the WatchStream': ['DuplicateWatchId', REJECTED],
  'mvcc: watcher range is empty': ['EmptyWatchRange', REJECTED],
  'election: no leader': ['ElectionNoLeader', REJECTED],
  'election: not leader': ['ElectionNotLeader', REJECTED],
  '"leader" field must be provided': ['ElectionLeaderRequired', REJECTED],
} as const satisfies Record<string, readonly [string, Outcome]>;

/** The name of an error that an etcd server answered, such as `'LeaseNotFound'`. */
export type EtcdCode = (typeof table)[keyof typeof table][0];

/** An entry of the table: the error's name, and what it says of a write. */
export interface EtcdErrorEntry {
  readonly code: EtcdCode;
  readonly outcome: Outcome;
}

const byText = new Map<string, EtcdErrorEntry>(
  Object.entries(table).map(([text, [code, outcome]]) => [text, { code, outcome }]),
);

// Go prints a status error this way when it ends up inside another text, as in a watch's cancel reason.
const GO_STATUS = /^rpc error: code = \w+ desc = (.*)$/s;

/**
 * Looks up what a server answered. Texts wrapped as Go prints a status
 * (`rpc error: code = … desc = …`, as in a watch's cancel reason) are unwrapped first.
 */
export function lookUpEtcdError(text: string): EtcdErrorEntry | undefined {
  return byText.get(text) ?? byText.get(GO_STATUS.exec(text)?.[1] ?? '');
}
