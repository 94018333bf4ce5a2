import { crc32c } from '@node-rs/crc32';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Entry, HardState } from '../../../src/protocol/generated/raftpb.ts';
import { Metadata, Record, Snapshot } from '../../../src/protocol/generated/walpb.ts';
import { WireError } from '../../../src/protocol/wire.ts';
import { FrameEncoder, RecordType, readHead, readLength, writeLength } from '../../../src/server/wal/frame.ts';
import {
  decodeEntry,
  decodeHardState,
  decodeMetadata,
  decodeSnapshot,
  encodeEntry,
  encodeHardState,
  encodeMetadata,
  encodeSnapshot,
  RecordError,
} from '../../../src/server/wal/records.ts';
import { entry, MEMBER, OWNER, state } from './support.ts';

describe('frames', () => {
  it('begin with the bytes that etcd begins a log with', () => {
    const encoder = new FrameEncoder(0);
    encoder.add(RecordType.crc, new Uint8Array(0));
    // Length 4 and four zeros behind it, then type 4 and checksum 0.
    expect(encoder.take().toString('hex')).toBe('040000000000008408041000'.padEnd(32, '0'));
  });

  it('hold walpb records with one checksum through all of them', () => {
    const datas = fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(datas, fc.integer({ min: 0, max: 0xffff_ffff }), (list, seed) => {
        const encoder = new FrameEncoder(seed);
        for (const data of list) encoder.add(RecordType.entry, data);
        const bytes = encoder.take();
        let crc = seed;
        let at = 0;
        for (const data of list) {
          expect(at % 8).toBe(0);
          const length = readLength(bytes, at)!;
          const body = bytes.subarray(at + 8, at + 8 + length);
          crc = data.length === 0 ? crc : crc32c(data, crc);
          const record = Record.decode(body);
          expect({ ...record, data: Uint8Array.from(record.data) }).toEqual({ type: 2n, crc, data });
          expect(readHead(body)).toEqual({ type: 2, crc, dataAt: length - data.length, bytes: length });
          at += 8 + Math.ceil(length / 8) * 8;
        }
        expect([at, encoder.crc]).toEqual([bytes.length, crc]);
      }),
    );
  });

  it('have lengths that no flipped bit makes another one of', () => {
    const bytes = Buffer.alloc(8);
    for (let length = 4; length < 600; length++) {
      writeLength(bytes, 0, length);
      expect(readLength(bytes, 0)).toBe(length);
      for (let bit = 56; bit < 64; bit++) {
        writeLength(bytes, 0, length);
        bytes[7]! ^= 1 << (bit - 56);
        expect(readLength(bytes, 0)).toBeUndefined();
      }
    }
  });

  it('say when their head is not all there', () => {
    const encoder = new FrameEncoder(0x8000_0000);
    encoder.add(RecordType.entry, new Uint8Array(300).fill(1));
    const bytes = encoder.take().subarray(8);
    const head = readHead(bytes) as { dataAt: number };
    for (let length = 0; length < head.dataAt; length++) expect(readHead(bytes.subarray(0, length))).toBe('short');
    expect(readHead(bytes.subarray(0, head.dataAt))).toEqual(head);
    expect(readHead(Buffer.alloc(16))).toBe('malformed');
  });
});

describe('records', () => {
  it('are what the protobuf says', () => {
    const one = { ...entry(7, 3), type: 'EntryConfChange' as const };
    const { Data, ...rest } = Entry.decode(encodeEntry(one));
    expect({ ...rest, Data: Uint8Array.from(Data) }).toEqual({ Type: 1, Term: 3n, Index: 7n, Data: one.data });
    expect(decodeEntry(encodeEntry(one))).toEqual(one);
    expect(HardState.decode(encodeHardState(state(4, 0)))).toEqual({ term: 4n, vote: MEMBER, commit: 0n });
    expect(decodeHardState(encodeHardState(state(4, 0)))).toEqual(state(4, 0));
    expect(Metadata.decode(encodeMetadata(OWNER))).toEqual({ NodeID: OWNER.memberId, ClusterID: OWNER.clusterId });
    expect(decodeMetadata(encodeMetadata(OWNER))).toEqual(OWNER);
    const snapshot = { index: 5, term: 2, confState: Uint8Array.of(8, 1) };
    expect(Snapshot.decode(encodeSnapshot(snapshot))).toMatchObject({ index: 5n, term: 2n });
    expect(decodeSnapshot(encodeSnapshot(snapshot))).toEqual(snapshot);
  });

  it('are not taken for another kind', () => {
    const encoded = {
      entry: encodeEntry(entry(7)),
      empty: encodeEntry({ ...entry(7), data: new Uint8Array(0) }),
      change: encodeEntry({ ...entry(7), type: 'EntryConfChange' }),
      state: encodeHardState(state(4, 3)),
      metadata: encodeMetadata(OWNER),
      snapshot: encodeSnapshot({ index: 5, term: 2, confState: Uint8Array.of(8, 1) }),
      nothing: new Uint8Array(0),
    };
    const takes = (decode: (bytes: Uint8Array) => unknown) =>
      Object.entries(encoded)
        .filter(([, bytes]) => {
          try {
            decode(bytes);
            return true;
          } catch (error) {
            expect([RecordError, WireError].some((kind) => error instanceof kind)).toBe(true);
            return false;
          }
        })
        .map(([name]) => name);
    expect(takes(decodeEntry)).toEqual(['entry', 'empty', 'change']);
    expect(takes(decodeHardState)).toEqual(['state']);
    // Two numbers are two numbers: the reader compares them with those of the log.
    expect(takes(decodeMetadata)).toEqual(['metadata']);
    expect(takes(decodeSnapshot)).toEqual(['snapshot']);
  });
});
