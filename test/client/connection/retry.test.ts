import { describe, expect, it } from 'vitest';
import { type CallKind, judge } from '../../../src/client/connection/retry.ts';
import type { CallFailure } from '../../../src/client/transport/transport.ts';
import { GrpcCode } from '../../../src/protocol/status.ts';

const KINDS: readonly CallKind[] = ['read', 'idempotent', 'write'];

function failure(grpcCode: GrpcCode, details = 'some text', sent: 'no' | 'maybe' = 'maybe'): CallFailure {
  return { grpcCode, details, sent };
}

/** `next applied member` for a read, an idempotent call and a write. */
type Row = readonly [code: keyof typeof GrpcCode, read: string, idempotent: string, write: string];

const REFUSED = ['fail no fine', 'fail no fine', 'fail no fine'] as const;

/** A text that etcd does not use: the code alone decides. */
const BY_CODE: readonly Row[] = [
  ['CANCELLED', 'again no suspect', 'again maybe suspect', 'fail maybe suspect'],
  ['UNKNOWN', 'fail no fine', 'fail maybe fine', 'fail maybe fine'],
  ['INVALID_ARGUMENT', ...REFUSED],
  ['DEADLINE_EXCEEDED', 'again no silent', 'again maybe silent', 'fail maybe silent'],
  ['NOT_FOUND', ...REFUSED],
  ['ALREADY_EXISTS', ...REFUSED],
  ['PERMISSION_DENIED', ...REFUSED],
  ['RESOURCE_EXHAUSTED', 'fail no fine', 'fail maybe fine', 'fail maybe fine'],
  ['FAILED_PRECONDITION', ...REFUSED],
  ['ABORTED', 'again no suspect', 'again maybe suspect', 'fail maybe suspect'],
  ['OUT_OF_RANGE', ...REFUSED],
  ['UNIMPLEMENTED', ...REFUSED],
  ['INTERNAL', 'again no suspect', 'again maybe suspect', 'fail maybe suspect'],
  ['UNAVAILABLE', 'again no suspect', 'again maybe suspect', 'fail maybe suspect'],
  ['DATA_LOSS', 'fail no fine', 'fail maybe fine', 'fail maybe fine'],
  ['UNAUTHENTICATED', ...REFUSED],
];

const TEXTS: readonly (readonly [
  code: keyof typeof GrpcCode,
  text: string,
  ...(Row extends readonly [string, ...infer R] ? R : never),
])[] = [
  // The server gave up waiting: the write may yet be applied.
  ['UNAVAILABLE', 'etcdserver: request timed out', 'again no suspect', 'again maybe suspect', 'fail maybe suspect'],
  ['UNAVAILABLE', 'etcdserver: leader changed', 'again no suspect', 'again maybe suspect', 'fail maybe suspect'],
  ['UNAVAILABLE', 'etcdserver: server stopped', 'again no suspect', 'again maybe suspect', 'fail maybe suspect'],
  // etcd applies the write that oversteps the quota, and says so all the same.
  [
    'RESOURCE_EXHAUSTED',
    'etcdserver: mvcc: database space exceeded',
    'fail no fine',
    'fail maybe fine',
    'fail maybe fine',
  ],
  ['UNKNOWN', 'raft proposal dropped', 'fail no fine', 'fail maybe fine', 'fail maybe fine'],
  ['DEADLINE_EXCEEDED', 'context deadline exceeded', 'again no silent', 'again maybe silent', 'fail maybe silent'],
  ['UNKNOWN', 'context deadline exceeded', 'again no silent', 'again maybe silent', 'fail maybe silent'],
  // Refused before anything was proposed: even a write may go to another member.
  ['UNAVAILABLE', 'etcdserver: no leader', 'again no leaderless', 'again no leaderless', 'again no leaderless'],
  [
    'UNAVAILABLE',
    'etcdserver: rpc not supported for learner',
    'again no learner',
    'again no learner',
    'again no learner',
  ],
  [
    'FAILED_PRECONDITION',
    'etcdserver: rpc not supported for learner',
    'again no learner',
    'again no learner',
    'again no learner',
  ],
  ['RESOURCE_EXHAUSTED', 'etcdserver: too many requests', 'again no fine', 'again no fine', 'again no fine'],
  // Refused for good.
  ['OUT_OF_RANGE', 'etcdserver: mvcc: required revision has been compacted', ...REFUSED],
  ['INVALID_ARGUMENT', 'etcdserver: request is too large', ...REFUSED],
  ['RESOURCE_EXHAUSTED', 'grpc: received message larger than max (2200010 vs. 2097152)', ...REFUSED],
  // 3.4 and 3.5 say UNAVAILABLE, 3.6 FAILED_PRECONDITION: the text decides, and the member is fine.
  ['UNAVAILABLE', 'etcdserver: not capable', ...REFUSED],
  ['FAILED_PRECONDITION', 'etcdserver: not capable', ...REFUSED],
  // A token that is refused has changed nothing, whatever the call.
  ['UNAUTHENTICATED', 'etcdserver: invalid auth token', 'login no fine', 'login no fine', 'login no fine'],
  ['INVALID_ARGUMENT', 'etcdserver: revision of auth store is old', 'login no fine', 'login no fine', 'login no fine'],
  ['INVALID_ARGUMENT', 'etcdserver: user name is empty', 'login no fine', 'login no fine', 'login no fine'],
  ['UNKNOWN', 'auth: invalid auth token', 'login no fine', 'login no fine', 'login no fine'],
  // The answer was too large for us: another attempt brings the same.
  [
    'RESOURCE_EXHAUSTED',
    'Received message larger than max (8 vs 4)',
    'fail no fine',
    'fail maybe fine',
    'fail maybe fine',
  ],
  // The server dropped the connection for too many pings.
  [
    'RESOURCE_EXHAUSTED',
    'Bandwidth exhausted or memory limit exceeded',
    'again no suspect',
    'again maybe suspect',
    'fail maybe suspect',
  ],
];

function verdicts(callFailure: CallFailure): string[] {
  return KINDS.map((kind) => {
    const { next, applied, member } = judge(kind, callFailure);
    return `${next} ${applied} ${member}`;
  });
}

describe('the verdict on a failed call', () => {
  it.each(BY_CODE)('follows from %s alone when the text is not etcd’s', (code, ...expected) => {
    expect(verdicts(failure(GrpcCode[code]))).toEqual(expected);
  });

  it('covers every code', () => {
    const failing = Object.keys(GrpcCode).filter((code) => code !== 'OK');
    expect(BY_CODE.map(([code]) => code)).toEqual(failing);
  });

  it.each(TEXTS)('follows from the text: %s %s', (code, text, ...expected) => {
    expect(verdicts(failure(GrpcCode[code], text))).toEqual(expected);
  });

  it('never says "maybe" of a request that did not leave, and lets even a write go again', () => {
    for (const code of Object.values(GrpcCode)) {
      for (const kind of KINDS) {
        expect(judge(kind, failure(code, 'x', 'no'))).toMatchObject({ next: 'again', applied: 'no' });
      }
    }
  });

  it('never lets a write go again that may have been applied', () => {
    const texts = [...TEXTS.map(([, text]) => text), 'other'];
    for (const code of Object.values(GrpcCode)) {
      for (const text of texts) {
        const { next, applied } = judge('write', failure(code, text));
        if (next !== 'fail') expect([code, text, applied]).toEqual([code, text, 'no']);
      }
    }
  });
});
