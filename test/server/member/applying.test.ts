import { describe, expect, it } from 'vitest';
import type { StateMachine } from '../../../src/server/apply/machine.ts';
import { Applying } from '../../../src/server/member/applying.ts';
import { noPeers, type PeerHost } from '../../../src/server/member/peers.ts';
import type { ConfChange, RawNode } from '../../../src/server/raft/index.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';

const change = { type: 'add-voter', nodeId: 3n, id: 0n, context: new Uint8Array() } as ConfChange;

/** Applies a change of configuration while an image as of `image` is on its way; 0: none. */
function applied(index: number, image: number): number {
  let given = 0;
  const snapshot = image > 0 ? { index: image } : undefined;
  const node = {
    raft: { log: { unstable: { snapshot } } },
    applyConfChange: () => {
      given += 1;
    },
  };
  const nobody = {} as never;
  const applying = new Applying({
    clock: new VirtualClock(),
    options: { observe: {}, heartbeatMs: 100 },
    state: { apply: () => ({ requestId: 0n, outcome: undefined, confChange: change }) } as unknown as StateMachine,
    node: node as unknown as RawNode,
    peers: noPeers({} as PeerHost),
    proposals: nobody,
    space: nobody,
    begunTerm: () => {},
    failed: () => {},
  });
  applying.apply({ type: 'EntryConfChange', term: 1, index, data: Uint8Array.of(1) });
  return given;
}

describe('a change of configuration', () => {
  it('is given to the core, unless that has the later one of an image already', () => {
    expect([applied(5, 0), applied(5, 9), applied(10, 9)]).toEqual([1, 0, 1]);
  });
});
