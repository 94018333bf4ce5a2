/** Histories that nobody lived through, for tests of who judges them: the first transaction has revision 1, and so on. */
import type { LeaseId, Revision } from '../../../../src/index.ts';
import type { KeyEvent } from '../../../recipes/await-point-history.ts';

const LEASE = 0x1234n as LeaseId;

/** One change of a transaction. */
type Change = Pick<KeyEvent, 'type' | 'key' | 'value' | 'lease'>;

/** A key is written. */
export function put(key: string, value: string | bigint | object = ''): Change {
  const text = typeof value === 'object' ? JSON.stringify(value) : String(value);
  return { type: 'put', key, value: text, lease: undefined };
}

/** A key that hangs on a lease is written, as places in queues are. */
export function place(key: string, value: string | bigint | object = ''): Change {
  return { ...put(key, value), lease: LEASE };
}

/** A key is deleted, or goes with its lease. */
export function gone(key: string): Change {
  return { type: 'delete', key, value: '', lease: undefined };
}

/** What is done at one revision. */
export type Txn = Change | readonly Change[];

/** What such transactions come to. */
export function madeHistory(...txns: Txn[]): KeyEvent[] {
  const created = new Map<string, Revision>();
  return txns.flatMap((txn, i) => {
    const revision = BigInt(i + 1) as Revision;
    return [txn].flat().map((change): KeyEvent => {
      if (change.type === 'delete') created.delete(change.key);
      else created.set(change.key, created.get(change.key) ?? revision);
      return { ...change, revision, createRevision: created.get(change.key) ?? (0n as Revision) };
    });
  });
}
