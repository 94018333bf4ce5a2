import { describe, expect, it } from 'vitest';
import type { MemberId } from '../../../src/protocol/int64.ts';
import { ImagesOut, type ImagesOutOptions } from '../../../src/server/member/images-out.ts';
import { type Message, message } from '../../../src/server/raft/index.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';

const nobody = { voters: [], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };
const asked = (to: bigint, term: number): Message =>
  message('MsgSnap', { from: 1n as MemberId, to: to as MemberId, term });

/** Images on their way, each of which ends as a test says. */
class Sending {
  readonly reports: (readonly [to: bigint, outcome: string])[] = [];
  readonly begun: { readonly to: bigint; readonly term: number; readonly end: (taken: boolean) => void }[] = [];
  readonly out: ImagesOut;

  constructor() {
    const state = { index: 9, term: 3, rows: () => ({ confState: nobody, members: [], removedMembers: [] }) };
    const snapshots = { holdLog: () => () => {}, image: async () => ({ sizeBytes: 0, chunks: nothing() }) };
    const sendSnapshot = ({ to, term }: Message): Promise<boolean> =>
      new Promise((end) => void this.begun.push({ to, term, end }));
    this.out = new ImagesOut({
      clock: new VirtualClock(),
      state: state as unknown as ImagesOutOptions['state'],
      snapshots: snapshots as unknown as ImagesOutOptions['snapshots'],
      peers: { sendSnapshot },
      leads: () => true,
      report: (to, outcome) => void this.reports.push([to, outcome]),
    });
  }

  get under(): (readonly [to: bigint, term: number])[] {
    return this.begun.map(({ to, term }) => [to, term]);
  }

  async ask(...all: readonly Message[]): Promise<void> {
    for (const one of all) this.out.send(one);
    await turn();
  }

  async end(at: number, taken: boolean): Promise<void> {
    this.begun[at]?.end(taken);
    await turn();
  }
}

async function* nothing(): AsyncGenerator<Uint8Array> {}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('images for members', () => {
  it('are sent two at a time, and each is answered for', async () => {
    const sending = new Sending();
    await sending.ask(asked(2n, 5), asked(3n, 5), asked(4n, 5));
    expect(sending.under).toEqual([
      [2n, 5],
      [3n, 5],
    ]);
    await sending.end(1, false);
    expect(sending.under.at(-1)).toEqual([4n, 5]);
    await sending.end(0, true);
    await sending.end(2, true);
    expect(sending.reports).toEqual([
      [3n, 'failed'],
      [2n, 'sent'],
      [4n, 'sent'],
    ]);
  });

  it('that are asked for anew are answered for by the new one alone: the receiver has given up the old one for it', async () => {
    const sending = new Sending();
    await sending.ask(asked(2n, 5));
    // Deposed and elected again meanwhile: it knows nothing any more of what it sends.
    await sending.ask(asked(2n, 7));
    await sending.end(0, false);
    expect(sending.reports).toEqual([]);
    await sending.end(1, true);
    expect(sending.reports).toEqual([[2n, 'sent']]);
    await sending.ask(asked(2n, 7));
    await sending.end(2, false);
    expect(sending.reports.at(-1)).toEqual([2n, 'failed']);
  });

  it('that are asked for anew while they wait are sent once', async () => {
    const sending = new Sending();
    await sending.ask(asked(3n, 5), asked(4n, 5), asked(2n, 5), asked(2n, 7));
    await sending.end(0, true);
    await sending.end(1, true);
    expect(sending.under.slice(2)).toEqual([[2n, 7]]);
    await sending.end(2, true);
    expect(sending.reports.filter(([to]) => to === 2n)).toEqual([[2n, 'sent']]);
  });
});
