import { describe, expect, it } from 'vitest';
import { AlarmRequestAlarmAction, AlarmType } from '../../../src/protocol/generated/etcdserverpb.ts';
import { toBytes } from '../../../src/protocol/keys.ts';
import { Bench, compact, disarm, put, type Request, raise, remove } from './support.ts';

const { NONE, NOSPACE, CORRUPT } = AlarmType;
const list = (alarm: AlarmType = NONE): Request => ({ alarm: { action: AlarmRequestAlarmAction.GET, alarm } });

function alarmsIn(bench: Bench, request: Request): string {
  const outcome = bench.do(request);
  return outcome.type === 'alarm' ? outcome.alarms.map(({ memberID, alarm }) => `${memberID}:${alarm}`).join(' ') : '';
}

describe('alarms', () => {
  it('are of one member and one type, and are told in the order of their rows', () => {
    const bench = new Bench();
    expect(alarmsIn(bench, raise(CORRUPT, 2n))).toBe('2:2');
    expect(alarmsIn(bench, raise(NOSPACE, 300n))).toBe('300:1');
    expect(alarmsIn(bench, raise(NOSPACE, 2n))).toBe('2:1');
    expect(alarmsIn(bench, raise(NOSPACE, 0n))).toBe('0:1');
    expect(alarmsIn(bench, raise(NOSPACE, 2n))).toBe('2:1');
    expect(alarmsIn(bench, list())).toBe('2:1 2:2 300:1 0:1');
    expect(alarmsIn(bench, list(CORRUPT))).toBe('2:2');
    expect([bench.machine.alarms.has(NOSPACE), bench.machine.alarms.list(NOSPACE)]).toMatchObject([
      true,
      { length: 3 },
    ]);
    expect(alarmsIn(bench, disarm(CORRUPT, 3n))).toBe('');
    expect(alarmsIn(bench, disarm(CORRUPT, 2n))).toBe('2:2');
    expect(bench.machine.alarms.has(CORRUPT)).toBe(false);
  });

  it('of no type, or one that nobody knows, are not raised', () => {
    const bench = new Bench();
    expect(alarmsIn(bench, raise(NONE))).toBe('');
    expect(alarmsIn(bench, raise(7 as AlarmType))).toBe('');
    expect(alarmsIn(bench, { alarm: { action: 9 as AlarmRequestAlarmAction, alarm: NOSPACE } })).toBe('');
    expect(alarmsIn(bench, list())).toBe('');
  });
});

const read = { requestRange: { key: toBytes('a') } };
const write = { requestPut: put('a').put };
const erase = { requestDeleteRange: remove('a').deleteRange };

/** What each request comes to while an alarm is raised: N is refused for want of space, C as corrupt. */
const MATRIX: readonly (readonly [name: string, request: Request, refusedBy: 'NC' | 'N' | 'C' | ''])[] = [
  ['put', put('a'), 'NC'],
  ['delete', remove('a'), 'C'],
  ['transaction with a put', { txn: { success: [write] } }, 'NC'],
  ['transaction with a put that is not taken', { txn: { failure: [write] } }, 'NC'],
  ['transaction with a put deeper', { txn: { failure: [{ requestTxn: { failure: [write] } }] } }, 'NC'],
  ['transaction that deletes', { txn: { success: [erase, read] } }, 'C'],
  ['transaction that only reads', { txn: { success: [read], failure: [read] } }, ''],
  ['transaction with reads deeper', { txn: { success: [{ requestTxn: { success: [read] } }] } }, 'C'],
  ['range', { range: { key: toBytes('a') } }, ''],
  ['compaction', compact(2), 'C'],
  ['lease grant', { leaseGrant: { ID: 2n, TTL: 9n } }, 'NC'],
  ['lease revoke', { leaseRevoke: { ID: 1n } }, 'C'],
  ['lease checkpoint', { leaseCheckpoint: { checkpoints: [] } }, ''],
  ['user add', { authUserAdd: { name: 'ann' } }, ''],
  ['cluster version', { clusterVersionSet: { ver: '3.5.0' } }, ''],
  ['alarm', list(), ''],
];

describe.each(MATRIX)('%s', (_, request, refusedBy) => {
  it.each([
    ['N', NOSPACE, 'etcdserver: mvcc: database space exceeded'],
    ['C', CORRUPT, 'etcdserver: corrupt cluster'],
  ] as const)('under the alarm %s', (letter, alarm, text) => {
    const bench = new Bench();
    bench.do({ leaseGrant: { ID: 1n, TTL: 60n } });
    bench.put('a', '', 1n);
    bench.do(raise(alarm, 42n));
    const { revision } = bench.machine.store;
    const said = bench.say(request);
    if (refusedBy.includes(letter)) {
      expect([said, bench.machine.store.revision]).toEqual([text, revision]);
      bench.do(disarm(alarm, 42n));
      expect(bench.say(request)).not.toMatch(/^etcdserver/);
    } else expect(said).not.toMatch(/^etcdserver/);
  });
});

describe('two alarms', () => {
  it('say that the cluster is corrupt first', () => {
    const bench = new Bench();
    bench.do(raise(NOSPACE));
    bench.do(raise(CORRUPT));
    expect(bench.say(put('a'))).toBe('etcdserver: corrupt cluster');
  });
});
