import { describe, expect, it } from 'vitest';
import {
  EMPTY_CONF_STATE,
  type Entry,
  MemoryStorage,
  NO_LIMIT,
  NONE,
  type Snapshot,
} from '../../../src/server/raft/index.ts';
import { Sfc32 } from '../world/random.ts';
import { emptyImage, type ImageWrite, imageMedium, isBlank, recover } from './image.ts';
import { hashOf, stateBytes } from './snapshot.ts';

const entry = (term: number, index: number): Entry => ({ term, index, type: 'EntryNormal', data: new Uint8Array() });
const record = (entries: readonly Entry[], commit: number): ImageWrite => {
  return { kind: 'log', entries, hardState: { term: 2, vote: NONE, commit } };
};
const snapshot = (index: number): Snapshot => ({ index, term: 1, confState: EMPTY_CONF_STATE, data: stateBytes(77) });

function imageOf(...writes: ImageWrite[]) {
  const image = emptyImage();
  for (const write of writes) imageMedium.commit(image, write);
  return image;
}

function started(...writes: ImageWrite[]) {
  const storage = new MemoryStorage();
  const state = recover(imageOf(...writes), storage);
  return { storage, state };
}

describe('the image of a member', () => {
  it('is blank before the first write', () => {
    expect(isBlank(emptyImage())).toBe(true);
    expect(isBlank(imageOf(record([entry(1, 1)], 0)))).toBe(false);
  });

  it('has the last entries that were written for each place', () => {
    const { log } = imageOf(record([entry(1, 1), entry(1, 2), entry(1, 3)], 1), record([entry(2, 2)], 1));
    expect(log.lastIndex).toBe(2);
    expect(log.termAt(2)).toBe(2);
    expect(log.hashAt(2)).not.toBe(imageOf(record([entry(1, 1), entry(1, 2)], 0)).log.hashAt(2));
    expect(log.hashAt(1)).toBe(imageOf(record([entry(1, 1)], 0)).log.hashAt(1));
  });

  it('loses the hard state before the entries, when a record is torn', () => {
    const random = new Sfc32(1);
    const write = record([entry(1, 1), entry(1, 2)], 2);
    const lengths = Array.from({ length: 50 }, () => {
      const torn = imageMedium.torn(write, random);
      expect(torn).toMatchObject({ kind: 'log' });
      expect(torn).not.toHaveProperty('hardState');
      return torn?.kind === 'log' ? torn.entries.length : -1;
    });
    expect(new Set(lengths)).toEqual(new Set([0, 1, 2]));
  });

  it('keeps what is behind a snapshot of its own, and nothing behind one that was received', () => {
    const log = record([entry(1, 1), entry(1, 2), entry(1, 3)], 3);
    const file: ImageWrite = { kind: 'snapshot', snapshot: snapshot(2) };
    const mark = (received: boolean): ImageWrite => ({ kind: 'log', mark: { index: 2, received }, entries: [] });
    expect(started(log, file, mark(false)).storage.lastIndex()).toBe(3);
    const { storage } = started(log, file, mark(true));
    expect(storage.lastIndex()).toBe(2);
    expect(hashOf(storage.snapshot() as Snapshot)).toBe(77);
    expect(() => imageOf(log, mark(true))).toThrow('no file');
  });

  it('is started from with a commit index that is not behind snapshot and state', () => {
    const log = record([entry(1, 1), entry(1, 2), entry(1, 3)], 1);
    const state: ImageWrite = { kind: 'state', index: 2, hash: 5, confState: EMPTY_CONF_STATE };
    expect(started(log).storage.initialState().hardState.commit).toBe(1);
    const kept = started(log, state);
    expect(kept.state).toEqual(state);
    expect(kept.storage.initialState().hardState.commit).toBe(2);
    expect(kept.storage.entries(1, 4, NO_LIMIT)).toHaveLength(3);
  });
});
