/**
 * Asking a member what it is, before it is trusted with calls.
 *
 * @module
 */

import { Maintenance } from '../../protocol/generated/etcdserverpb.ts';
import type { ClusterId, MemberId } from '../../protocol/int64.ts';
import { GrpcCode } from '../../protocol/status.ts';
import { ConnectError, TransportError } from '../transport/transport.ts';
import type { Member, MemberFacts, Probe } from './member.ts';
import { MetadataTable } from './metadata.ts';
import { isTokenFailure } from './retry.ts';
import type { TokenSource } from './token.ts';

/**
 * A probe by a Status call. It uses the token in hand and never logs in, since a login
 * needs a member first; a member that will not tell a stranger is taken as it is.
 */
export function statusProbe(tokens: () => TokenSource, timeoutMs: number): Probe {
  const metadata = new MetadataTable();
  return async (member: Member): Promise<MemberFacts> => {
    try {
      const token = tokens().peek().token;
      const status = await member.transport.unary(
        Maintenance.status,
        {},
        { metadata: metadata.get(token, false), timeoutMs },
      );
      return {
        version: status.version,
        memberId: status.header?.memberId as MemberId | undefined,
        clusterId: status.header?.clusterId as ClusterId | undefined,
        hasLeader: status.leader !== 0n,
        isLearner: status.isLearner,
      };
    } catch (error) {
      if (!(error instanceof TransportError)) throw error;
      const { failure } = error;
      if (isTokenFailure(failure) || failure.grpcCode === GrpcCode.PERMISSION_DENIED) return {};
      throw unfit(failure.grpcCode, failure.details, timeoutMs);
    }
  };
}

function unfit(code: GrpcCode, details: string, timeoutMs: number): ConnectError {
  if (code === GrpcCode.DEADLINE_EXCEEDED) {
    return new ConnectError('timeout', `connected, but no answer to a status call within ${timeoutMs} ms`);
  }
  if (code === GrpcCode.UNIMPLEMENTED || code === GrpcCode.UNKNOWN) {
    return new ConnectError('not-etcd', `what listens there is not an etcd server: ${details}`);
  }
  return new ConnectError('protocol', `the status call failed: ${details}`);
}
