import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SnapshotOptions, SnapshotStream } from '../../../src/client/admin/snapshot.ts';
import { EtcdError } from '../../../src/client/errors.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { type AdminClient, type Answer, adminClient, type ScriptRecord, scripted } from './callers.ts';

type Piece = Answer | { remainingBytes: bigint; blob: Uint8Array; version?: string };

const database = Buffer.alloc(2048, 'etcd');
const digest = createHash('sha256').update(database).digest();

/** What a server sends for a database, cut as told. */
function pieces(bytes: Buffer, cut: number, last: Uint8Array = createHash('sha256').update(bytes).digest()): Piece[] {
  const list: Piece[] = [];
  for (let at = 0; at < bytes.length; at += cut) {
    const blob = bytes.subarray(at, at + cut);
    list.push({ blob, remainingBytes: BigInt(bytes.length - at - blob.length), version: '3.6.1' });
  }
  return [...list, { blob: last, remainingBytes: 0n, version: '3.6.1' }];
}

const broken: Answer = { failure: { grpcCode: 14, details: 'connection reset', sent: 'maybe' } };

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

/** A client of a member that sends these pieces, on each stream the next of the lists. */
function sending(...streams: Piece[][]): { etcd: AdminClient; record: ScriptRecord; clock: VirtualClock } {
  const clock = new VirtualClock();
  const { transports, record } = scripted({
    unary: () => ({ message: { header: { clusterId: 1n, memberId: 1n }, version: '3.6.1', leader: 1n } }),
    stream: () => streams.shift() ?? [],
  });
  const etcd = adminClient({ endpoints: ['a:1'], transports, clock });
  closers.push(() => etcd[Symbol.dispose]());
  return { etcd, record, clock };
}

async function readAll(snapshot: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of snapshot) parts.push(part);
  return Buffer.concat(parts);
}

async function failureOf(etcd: AdminClient, options?: SnapshotOptions): Promise<EtcdError> {
  const error = await etcd.maintenance
    .snapshot(options)
    .then((snapshot) => readAll(snapshot))
    .then(
      (bytes) => `no failure, but ${bytes.length} bytes`,
      (reason: unknown) => reason,
    );
  expect(error).toBeInstanceOf(EtcdError);
  return error as EtcdError;
}

describe('snapshot', () => {
  it.each([512, 700, 2048])('yields the database and its checksum, in pieces of %i', async (cut) => {
    const { etcd } = sending(pieces(database, cut));
    const snapshot = await etcd.maintenance.snapshot();
    expect(snapshot.totalBytes).toBe(2080);
    expect(snapshot.version).toBe('3.6.1');
    expect(snapshot.sha256Hex).toBeUndefined();
    expect(await readAll(snapshot)).toEqual(Buffer.concat([database, digest]));
    expect(snapshot.sha256Hex).toBe(digest.toString('hex'));
  });

  it('copes with a server that cuts elsewhere: checksum with the last piece, or in two', async () => {
    const tail = Buffer.concat([database.subarray(1024), digest]);
    const together: Piece[] = [
      { blob: database.subarray(0, 1024), remainingBytes: 1024n },
      { blob: tail.subarray(0, 1030), remainingBytes: 0n },
      { blob: tail.subarray(1030), remainingBytes: 0n },
    ];
    const { etcd } = sending(together);
    const snapshot = await etcd.maintenance.snapshot();
    expect(await readAll(snapshot)).toEqual(Buffer.concat([database, digest]));
    expect(snapshot.version).toBeUndefined();
  });

  const flipped = Buffer.from(database);
  flipped[1500]! ^= 1;
  const swapped = pieces(database, 512);
  swapped.splice(1, 1);
  it.each<[string, string, Piece[]]>([
    ['a flipped bit', 'do not have the checksum', pieces(flipped, 512, digest)],
    ['a wrong checksum', 'do not have the checksum', pieces(database, 512, Buffer.from(digest).fill(7, 0, 1))],
    ['no checksum', 'without its checksum', pieces(database, 512).slice(0, -1)],
    ['half a checksum', 'without its checksum', pieces(database, 512, digest.subarray(0, 16))],
    ['an early end', 'ended 1024 bytes early', pieces(database, 512).slice(0, 2)],
    ['a missing piece', 'the server counts 512 bytes to come where 1024 are', swapped],
    ['too much', 'longer than', [...pieces(database, 512), { blob: Buffer.from('!'), remainingBytes: 0n }]],
    ['a database of no whole sectors', '1000 bytes are no database', pieces(database.subarray(0, 1000), 500)],
    ['nothing at all', 'before it began', []],
  ])('fails on %s, and never ends well', async (_, why, list) => {
    const { etcd } = sending(list);
    const error = await failureOf(etcd);
    expect(error.code).toBe('checksum-mismatch');
    expect(error.message).toContain(why);
  });

  it('does not yield the checksum of a damaged database', async () => {
    const { etcd } = sending(pieces(flipped, 512, digest));
    let bytes = 0;
    const snapshot = await etcd.maintenance.snapshot();
    snapshot.on('data', (piece: Uint8Array) => {
      bytes += piece.length;
    });
    await new Promise((resolve) => snapshot.once('close', resolve));
    expect(bytes).toBe(2048);
    expect(snapshot.errored).toMatchObject({ code: 'checksum-mismatch' });
  });

  it('asks for a piece when the reader has none, and for no more', async () => {
    const { etcd, record } = sending(pieces(database, 512));
    const snapshot = await etcd.maintenance.snapshot();
    expect(record.pulls).toBe(1);
    const reader = snapshot[Symbol.asyncIterator]();
    const pulls: number[] = [];
    for (let step = await reader.next(); !step.done; step = await reader.next()) {
      await new Promise((resolve) => setImmediate(resolve));
      pulls.push(record.pulls);
    }
    // One ahead at most, however long the reader takes.
    expect(pulls).toEqual([2, 3, 4, 6, 6]);
  });

  it('tells a pipeline of a connection that broke', async () => {
    const { etcd } = sending([...pieces(database, 512).slice(0, 2), broken]);
    const sink = new Writable({ write: (_chunk, _encoding, done) => done() });
    const snapshot = await etcd.maintenance.snapshot();
    await expect(pipeline(snapshot, sink)).rejects.toMatchObject({ code: 'unavailable', endpoint: 'a:1' });
  });

  it('starts over while nothing has come, and not after', async () => {
    const first = sending([broken], pieces(database, 512));
    const reading = first.etcd.maintenance.snapshot().then((snapshot) => readAll(snapshot));
    await first.clock.advance(10_000);
    expect((await reading).length).toBe(2080);
    expect(first.record.opened).toBe(2);

    const later = sending([pieces(database, 512)[0]!, broken], pieces(database, 512));
    expect((await failureOf(later.etcd)).code).toBe('unavailable');
    expect(later.record.opened).toBe(1);
  });

  it('gives up starting over', async () => {
    const { etcd, record, clock } = sending([broken], [broken], [broken], pieces(database, 512));
    const failing = failureOf(etcd);
    await clock.advance(10_000);
    expect((await failing).code).toBe('unavailable');
    expect(record.opened).toBe(3);
    expect(clock.pending.all).toBe(0);
  });

  it('ends when its signal fires, whether or not somebody reads', async () => {
    const stop = new AbortController();
    const { etcd, record, clock } = sending([...pieces(database, 512).slice(0, 2), 'hang']);
    const snapshot = await etcd.maintenance.snapshot({ signal: stop.signal });
    const closed = new Promise((resolve) => snapshot.once('close', resolve));
    stop.abort(new Error('enough'));
    await closed;
    expect(snapshot.errored).toMatchObject({ code: 'aborted', cause: { message: 'enough' } });
    await clock.settle();
    expect(record.cancelled).toBe(1);
    expect(clock.pending.all).toBe(0);
  });

  it('ends a wait for the next piece after idleTimeoutMs', async () => {
    const { etcd, record, clock } = sending([...pieces(database, 512).slice(0, 1), 'hang']);
    const failing = failureOf(etcd, { idleTimeoutMs: 700 });
    await clock.advance(699);
    expect(record.cancelled).toBe(0);
    await clock.advance(1);
    expect(await failing).toMatchObject({ code: 'deadline' });
    expect(record.cancelled).toBe(1);
    expect(clock.pending.all).toBe(0);
  });

  it('does not count the time that the reader takes as idle', async () => {
    const { etcd, clock } = sending(pieces(database, 512));
    const snapshot = await etcd.maintenance.snapshot({ idleTimeoutMs: 700 });
    await clock.advance(60_000);
    expect((await readAll(snapshot)).length).toBe(2080);
  });

  it('ends the whole after timeoutMs', async () => {
    const { etcd, clock } = sending(pieces(database, 512));
    const snapshot = await etcd.maintenance.snapshot({ timeoutMs: 2_000 });
    await clock.advance(2_000);
    expect(snapshot.errored).toMatchObject({ code: 'deadline' });
    expect(clock.pending.all).toBe(0);

    const intime = sending(pieces(database, 512));
    await readAll(await intime.etcd.maintenance.snapshot({ timeoutMs: 2_000 }));
    expect(intime.clock.pending.all).toBe(0);
  });

  it('counts the tries before the one that opens it in timeoutMs', async () => {
    const { etcd, record, clock } = sending([broken], [broken], ['hang']);
    const failing = failureOf(etcd, { timeoutMs: 2_000 });
    await clock.advance(1_999);
    expect([record.opened, record.cancelled]).toEqual([3, 0]);
    await clock.advance(1);
    expect(record.cancelled).toBe(1);
    expect(await failing).toMatchObject({ code: 'deadline', message: expect.stringContaining('within 2000 ms') });
    expect(clock.pending.all).toBe(0);
  });

  it('stops the server when the reader leaves', async () => {
    const { etcd, record, clock } = sending(pieces(database, 512));
    const snapshot: SnapshotStream = await etcd.maintenance.snapshot();
    for await (const _ of snapshot) break;
    await clock.settle();
    expect(record.cancelled).toBe(1);
    expect(clock.pending.all).toBe(0);
  });
});

describe('saveSnapshot', () => {
  let folder: string;
  let file: string;
  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'etcdkit-snapshot-'));
    file = path.join(folder, 'backup.db');
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('writes a file that only the owner can read, and says how far it is', async () => {
    const { etcd } = sending(pieces(database, 512));
    const progress: number[] = [];
    const saved = await etcd.maintenance.saveSnapshot(file, {
      onProgress: ({ bytes, totalBytes }) => progress.push(bytes / totalBytes),
    });
    expect(saved).toEqual({ bytes: 2080, sha256Hex: digest.toString('hex'), version: '3.6.1' });
    expect(await readFile(file)).toEqual(Buffer.concat([database, digest]));
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(progress.at(-1)).toBe(1);
    expect(progress).toEqual([...progress].sort((a, b) => a - b));
    expect(await readdir(folder)).toEqual(['backup.db']);
  });

  it('has nothing under the name before everything is there', async () => {
    const { etcd } = sending(pieces(database, 512));
    await writeFile(file, 'the backup of yesterday');
    const seen: Promise<string>[] = [];
    await etcd.maintenance.saveSnapshot(file, { onProgress: () => seen.push(readFile(file, 'utf8')) });
    expect(seen.length).toBeGreaterThan(1);
    expect(await seen[0]).toBe('the backup of yesterday');
    expect((await readFile(file)).length).toBe(2080);
  });

  it.each<[string, Piece[]]>([
    ['checksum-mismatch', pieces(database, 512).slice(0, -1)],
    ['unavailable', [...pieces(database, 512).slice(0, 2), broken]],
  ])('leaves the old file and no other behind after %s', async (code, list) => {
    const { etcd } = sending(list);
    await writeFile(file, 'the backup of yesterday');
    await expect(etcd.maintenance.saveSnapshot(file)).rejects.toMatchObject({ code });
    expect(await readFile(file, 'utf8')).toBe('the backup of yesterday');
    expect(await readdir(folder)).toEqual(['backup.db']);
  });

  it('cleans up, and stops the server, when the progress callback throws', async () => {
    const { etcd, record, clock } = sending(pieces(database, 512));
    const enough = new Error('enough');
    const saving = etcd.maintenance.saveSnapshot(file, {
      onProgress: () => {
        throw enough;
      },
    });
    await expect(saving).rejects.toBe(enough);
    expect(await readdir(folder)).toEqual([]);
    await clock.settle();
    expect(record.cancelled).toBe(1);
  });

  it("passes the file system's own errors on", async () => {
    const { etcd, record } = sending(pieces(database, 512));
    await expect(etcd.maintenance.saveSnapshot(path.join(folder, 'no', 'such.db'))).rejects.toMatchObject({
      code: 'ENOENT',
    });
    expect(record.opened).toBe(0);
  });
});
