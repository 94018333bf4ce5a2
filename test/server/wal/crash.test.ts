/** Crashes at any moment: what was acknowledged is there, and what else is there was written. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EMPTY } from '../../../src/protocol/wire.ts';
import type { Entry, HardState } from '../../../src/server/raft/types.ts';
import { type CrashMode, MemoryDisk } from '../../../src/server/storage/memory-disk.ts';
import { Wal, type WalBatch, type WalContents } from '../../../src/server/wal/index.ts';
import { DIRECTORY, entry, OWNER, state, WatchedDisk } from './support.ts';

interface Step {
  /** How many entries; 0 for a hard state alone. */
  readonly count: number;
  /** How many of the last entries that are not committed are replaced, in a new term. */
  readonly replaced: number;
  /** Bytes of each entry; large ones take several sectors. */
  readonly bytes: number;
  /** Whether zeros, which look like what a crash leaves. */
  readonly zeros: boolean;
  /** Whether to wait for it before the next one. */
  readonly wait: boolean;
  readonly snapshot: boolean;
}

const step: fc.Arbitrary<Step> = fc.record({
  count: fc.nat({ max: 4 }),
  replaced: fc.nat({ max: 3 }),
  bytes: fc.oneof(fc.nat({ max: 60 }), fc.nat({ max: 700 }), fc.constant(1600)),
  zeros: fc.boolean(),
  wait: fc.boolean(),
  snapshot: fc.boolean(),
});

/** What a log should say after some of the appends. */
class Model {
  entries: Entry[] = [];
  hardState: HardState = state(1, 0);
  /** What the log says after each append. */
  readonly history: { entries: readonly Entry[]; hardState: HardState | undefined }[] = [
    { entries: [], hardState: undefined },
  ];

  static resumed(contents: WalContents): Model {
    const model = new Model();
    model.entries = [...contents.entries];
    const { hardState } = contents;
    // Of an append that was not acknowledged the entries may be there, and the hard state not.
    const term = Math.max(1, hardState.term, contents.entries.at(-1)?.term ?? 0);
    model.hardState = state(term, hardState.commit);
    model.history[0] = { entries: contents.entries, hardState: hardState.term > 0 ? hardState : undefined };
    return model;
  }

  next({ count, replaced, bytes, zeros, snapshot }: Step): WalBatch {
    const kept = Math.max(this.hardState.commit, this.entries.length - replaced);
    const term = this.hardState.term + (kept < this.entries.length && count > 0 ? 1 : 0);
    const added = Array.from({ length: count }, (_, i) => {
      const one = entry(kept + i + 1, term, bytes);
      return zeros ? { ...one, data: new Uint8Array(bytes) } : one;
    });
    if (count > 0) this.entries = [...this.entries.slice(0, kept), ...added];
    this.hardState = state(term, Math.max(this.hardState.commit, this.entries.length - count - 2));
    const { commit } = this.hardState;
    this.history.push({ entries: this.entries, hardState: this.hardState });
    const at = this.entries[commit - 1];
    return {
      entries: added,
      hardState: this.hardState,
      ...(snapshot && at !== undefined && { snapshot: { index: at.index, term: at.term, confState: EMPTY } }),
    };
  }
}

const power = new Error('the power is gone');

/** Appends until the power fails, at the call of the disk with that number; then a crash. Says what was acknowledged. */
async function live(memory: MemoryDisk, steps: readonly Step[], calls: number, mode: CrashMode, random: () => number) {
  const disk = new WatchedDisk(memory);
  const { wal, contents } = await Wal.open(disk, DIRECTORY, { segmentBytes: 1500 });
  const model = Model.resumed(contents);
  let left = calls;
  disk.before = () => {
    if (left-- <= 0) throw power;
  };
  let acknowledged = 0;
  const pending: Promise<unknown>[] = [];
  for (const [i, one] of steps.entries()) {
    const done = wal.append(model.next(one)).then(
      () => {
        // A commit alone promises nothing.
        if (one.count > 0) acknowledged = Math.max(acknowledged, i + 1);
      },
      () => {},
    );
    pending.push(done);
    if (one.wait) await done;
  }
  await Promise.all(pending);
  memory.crash(mode, random);
  return { model, acknowledged };
}

/** Whether a log says what `model` said at some moment, no earlier than the `acknowledged`-th append, or part way to the next. */
function isSome(found: WalContents, model: Model, acknowledged: number): boolean {
  const { history } = model;
  for (let i = acknowledged; i < history.length; i++) {
    const here = history[i]!;
    const next = history[i + 1];
    if (same(found.entries, here.entries)) return true;
    if (next === undefined) continue;
    // Some of the entries of the next append, in order.
    const kept = next.entries.findIndex((one, at) => one !== here.entries[at]);
    for (let n = kept + 1; kept >= 0 && n <= next.entries.length; n++) {
      if (same(found.entries, next.entries.slice(0, n))) return true;
    }
  }
  return false;
}

function same(a: readonly Entry[], b: readonly Entry[]): boolean {
  return (
    a.length === b.length &&
    a.every(
      (one, i) => one.term === b[i]!.term && one.index === b[i]!.index && Buffer.compare(one.data, b[i]!.data) === 0,
    )
  );
}

/** Repeatable numbers. */
function randomOf(seed: number): () => number {
  let s = seed | 0;
  return () => {
    s = (s + 0x6d2b79f5) | 0;
    let t = Math.imul(s ^ (s >>> 15), 1 | s);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

describe('after a crash', () => {
  it.each(['none', 'prefix', 'subset', 'all'] as const)('nothing acknowledged is lost, mode %s', async (mode) => {
    const life = fc.record({ steps: fc.array(step, { minLength: 1, maxLength: 14 }), calls: fc.nat({ max: 30 }) });
    await fc.assert(
      fc.asyncProperty(fc.array(life, { minLength: 1, maxLength: 3 }), fc.integer(), async (lives, seed) => {
        const random = randomOf(seed);
        const memory = new MemoryDisk();
        await memory.makeDirectory('member');
        await (await Wal.create(memory, DIRECTORY, OWNER, { segmentBytes: 1500 })).close();
        for (const { steps, calls } of lives) {
          const { model, acknowledged } = await live(memory, steps, calls, mode, random);
          const { wal, contents } = await Wal.open(memory, DIRECTORY, { segmentBytes: 1500 });
          expect(isSome(contents, model, acknowledged)).toBe(true);
          const { hardState } = model.history[acknowledged]!;
          if (hardState !== undefined) {
            expect(contents.hardState.term).toBeGreaterThanOrEqual(hardState.term);
            expect(contents.hardState.commit).toBeGreaterThanOrEqual(hardState.commit);
          }
          await wal.close();
        }
      }),
      { numRuns: 200 },
    );
  });
});
