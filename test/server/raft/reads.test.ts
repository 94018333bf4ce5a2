import { describe, expect, it } from 'vitest';
import type { JointVoters } from '../../../src/server/raft/quorum/joint.ts';
import { decodePosition, encodePosition, ReadQueue } from '../../../src/server/raft/reads.ts';
import { proposal } from '../../../src/server/raft/types.ts';
import { bytes, id, ids, msg } from './support.ts';

const VOTERS: JointVoters = { incoming: ids(1, 2, 3), outgoing: [] };
const request = (context: string) => msg(1, 1, 'MsgReadIndex', { entries: [proposal(bytes(context))] });

/** The reads that a quorum confirms when a member answers a heartbeat of that position; each by its context. */
function answered(queue: ReadQueue, member: number, position: number, voters = VOTERS): [string, number][] {
  queue.acknowledge(id(member), position);
  return queue.takeConfirmed(voters).map((read) => {
    return [new TextDecoder().decode(read.request.entries[0]?.data), read.index];
  });
}

/** Reads `a`, `b`, … at commit indexes 10, 11, …, as a leader notes them: it follows itself. */
function queueOf(count: number): ReadQueue {
  const queue = new ReadQueue();
  for (let nth = 0; nth < count; nth += 1) {
    queue.add(request(String.fromCharCode(97 + nth)), 10 + nth);
    queue.acknowledge(id(1), queue.position);
  }
  return queue;
}

describe('ReadQueue', () => {
  it('confirms what a quorum has answered, oldest first, each read with the index of when it came', () => {
    const queue = queueOf(3);
    expect(answered(queue, 2, 2)).toEqual([
      ['a', 10],
      ['b', 11],
    ]);
    expect(queue.size).toBe(1);
    expect(answered(queue, 3, 3)).toEqual([['c', 12]]);
    expect(queue.size).toBe(0);
  });

  it('an answer to a heartbeat of before a read says nothing of it', () => {
    const queue = queueOf(2);
    expect(answered(queue, 2, 1)).toEqual([['a', 10]]);
    // The same answer again, and one of another member to the same heartbeat.
    expect(answered(queue, 2, 1)).toEqual([]);
    expect(answered(queue, 3, 1)).toEqual([]);
    expect(queue.size).toBe(1);
  });

  it('positions go on after reads were confirmed: an old answer confirms no new read', () => {
    const queue = queueOf(2);
    answered(queue, 2, 2);
    queue.add(request('z'), 20);
    queue.acknowledge(id(1), queue.position);
    expect(queue.position).toBe(3);
    expect(answered(queue, 3, 2)).toEqual([]);
    expect(answered(queue, 3, 3)).toEqual([['z', 20]]);
  });

  it('an answer that is late does not take back a later one', () => {
    const queue = queueOf(1);
    queue.acknowledge(id(2), 1);
    expect(answered(queue, 2, 0)).toEqual([['a', 10]]);
  });

  it('two reads with one context are two reads', () => {
    const queue = new ReadQueue();
    for (const index of [10, 12]) {
      queue.add(request('same'), index);
      queue.acknowledge(id(1), queue.position);
    }
    expect(answered(queue, 2, 1)).toEqual([['same', 10]]);
    expect(answered(queue, 2, 2)).toEqual([['same', 12]]);
  });

  it('needs both halves of a joint configuration, and no strangers', () => {
    const voters = { incoming: ids(1, 2, 3), outgoing: ids(4, 5, 6) };
    const queue = queueOf(1);
    expect(answered(queue, 2, 1, voters)).toEqual([]);
    expect(answered(queue, 7, 1, voters)).toEqual([]);
    expect(answered(queue, 4, 1, voters)).toEqual([]);
    expect(answered(queue, 5, 1, voters)).toEqual([['a', 10]]);
  });

  it('heartbeats carry the position of the last read, and nothing when none waits', () => {
    const queue = queueOf(2);
    expect(decodePosition(queue.context)).toBe(2);
    answered(queue, 2, 2);
    expect(queue.context).toHaveLength(0);
  });
});

describe('a position', () => {
  it('has eight bytes, the lowest first', () => {
    expect([...encodePosition(0x0102)]).toEqual([2, 1, 0, 0, 0, 0, 0, 0]);
  });

  it.each([0, 1, 255, 256, 2 ** 32, Number.MAX_SAFE_INTEGER])('%d is read as it was written', (position) => {
    expect(decodePosition(encodePosition(position))).toBe(position);
    // Messages off the wire are parts of larger memory.
    const within = new Uint8Array([9, ...encodePosition(position), 9]).subarray(1, 9);
    expect(decodePosition(within)).toBe(position);
  });

  it('is none in a context of any other length', () => {
    expect(decodePosition(bytes(''))).toBeUndefined();
    expect(decodePosition(bytes('1234567'))).toBeUndefined();
    expect(decodePosition(bytes('123456789'))).toBeUndefined();
  });
});
