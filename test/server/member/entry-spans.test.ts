/** What of the work on entries is timed, with a tracing that writes down what it is told. */
import { describe, expect, it } from 'vitest';
import { EntrySpans } from '../../../src/server/member/entry-spans.ts';
import { linkOf, withLink } from '../../../src/server/member/trace-link.ts';
import type { Entry } from '../../../src/server/raft/index.ts';
import { MemoryDisk } from '../../../src/server/storage/memory-disk.ts';
import type { EntryTracing, WorkName, WorkSpan } from '../../../src/server/tracing.ts';
import { readWal } from '../../../src/server/wal/reader.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { DATA_DIR, refusalOf, startMember } from './support.ts';

const LINK = Uint8Array.from({ length: 24 }, (_, i) => i);

/** Spans as lines: `name` when one begins, `name!` when it ends, `name! why` when it has failed. */
class Notes implements EntryTracing {
  readonly lines: string[] = [];

  begin(name: WorkName, link: Uint8Array): WorkSpan {
    this.lines.push(name);
    return this.#span(name, link);
  }

  /** What a call has. */
  call(link: Uint8Array | undefined): WorkSpan {
    return this.#span('call', link);
  }

  #span(name: string, link: Uint8Array | undefined): WorkSpan {
    return {
      link,
      begin: (part) => {
        this.lines.push(part);
        return this.#span(part, link);
      },
      set: () => {},
      end: (failure) => this.lines.push(failure === undefined ? `${name}!` : `${name}! ${failure}`),
    };
  }
}

function entry(index: number, isTraced = true): Entry {
  const data = Uint8Array.of();
  return { index, term: 1, type: 'EntryNormal', data: isTraced ? withLink(data, LINK) : data };
}

function spansOf(since = 0): { spans: EntrySpans; lines: string[] } {
  const notes = new Notes();
  return { spans: new EntrySpans({ tracing: notes, memberId: 1n, since }), lines: notes.lines };
}

describe('spans of entries', () => {
  it('are of those with a link, and end when the write does', () => {
    const { spans, lines } = spansOf();
    expect(spans.writing([entry(1, false)])).toBeUndefined();
    const writing = spans.writing([entry(2), entry(3, false), entry(4)])!;
    expect(lines).toEqual(['wal.sync', 'wal.sync']);
    spans.written(writing);
    spans.stop();
    expect(lines.slice(2)).toEqual(['wal.sync!', 'wal.sync!']);
  });

  it('of replication end with what is committed, in the order of the log', () => {
    const { spans, lines } = spansOf();
    spans.replicating([entry(5), entry(6, false), entry(7)]);
    spans.committed(4);
    expect(lines).toHaveLength(2);
    spans.committed(6);
    expect(lines.slice(2)).toEqual(['raft.replicate!']);
    spans.abandon();
    spans.committed(9);
    expect(lines.slice(3)).toEqual(['raft.replicate! not-leader']);
  });

  it('end with the member, whatever is underway', () => {
    const { spans, lines } = spansOf();
    spans.writing([entry(1)]);
    spans.replicating([entry(1)]);
    spans.stop();
    spans.stop();
    expect(lines.slice(2).sort()).toEqual(['raft.replicate! not-leader', 'wal.sync! stopped']);
  });

  it('of applying are of what came after the start', () => {
    const { spans, lines } = spansOf(8);
    expect(spans.applying(entry(8))).toBeUndefined();
    spans.applying(entry(9))?.end();
    expect(spans.applying({ ...entry(9), type: 'EntryConfChange' })).toBeUndefined();
    expect(lines).toEqual(['apply', 'apply!']);
  });
});

describe('a member', () => {
  const request = { put: { key: Buffer.from('a'), value: Buffer.from('1') } };

  it('writes the link of a span into the log, and nothing of one that is kept here alone', async () => {
    const notes = new Notes();
    const disk = new MemoryDisk();
    const member = await startMember(new VirtualClock(), disk, { tracing: notes });
    await member.propose(request);
    expect(notes.lines).toEqual([]);
    await member.propose(request, { span: notes.call(undefined) });
    expect(notes.lines).toEqual(['raft.propose', 'raft.propose!']);
    notes.lines.length = 0;
    await member.propose(request, { span: notes.call(LINK) });
    expect(notes.lines).toEqual(['raft.propose', 'wal.sync', 'wal.sync!', 'apply', 'apply!', 'raft.propose!']);
    await member.stop();
    const { contents } = await readWal(disk, `${DATA_DIR}/member/wal`, { index: 0, term: 0 });
    const links = contents.entries.slice(-3).map(({ data }) => linkOf(data));
    expect(links).toEqual([undefined, undefined, LINK]);
    const [first, second, third] = contents.entries.slice(-3).map(({ data }) => data.length);
    expect([second! - first!, third! - first!]).toEqual([0, 30]);
  });

  it('ends the span of what it refuses, and of what it never hears of', async () => {
    const notes = new Notes();
    const member = await startMember(new VirtualClock(), new MemoryDisk(), { tracing: notes });
    const waiting = refusalOf(member.propose(request, { span: notes.call(LINK) }));
    const stopping = member.stop();
    expect(await waiting).toContain('stopped');
    await stopping;
    expect(notes.lines.filter((line) => line.startsWith('raft.propose'))).toEqual([
      'raft.propose',
      'raft.propose! no-result',
    ]);
    notes.lines.length = 0;
    expect(await refusalOf(member.propose(request, { span: notes.call(LINK) }))).toContain('stopped');
    expect(notes.lines).toEqual([]);
  });

  it('ends with what its disk was at', async () => {
    const notes = new Notes();
    const member = await startMember(new VirtualClock(), new MemoryDisk(), { tracing: notes });
    const waiting = refusalOf(member.propose(request, { span: notes.call(LINK) }));
    while (!notes.lines.includes('wal.sync')) await Promise.resolve();
    await member.stop();
    expect(await waiting).toContain('stopped');
    expect(notes.lines).toEqual(['raft.propose', 'wal.sync', 'wal.sync! stopped', 'raft.propose! no-result']);
  });

  it('has room for a request of the largest size with a link', async () => {
    const notes = new Notes();
    const maxRequestBytes = 100;
    const member = await startMember(new VirtualClock(), new MemoryDisk(), { tracing: notes, maxRequestBytes });
    const large = { put: { key: Buffer.from('a'), value: Buffer.alloc(70) } };
    await member.propose(large);
    await member.propose(large, { span: notes.call(LINK) });
    await member.stop();
  });
});
