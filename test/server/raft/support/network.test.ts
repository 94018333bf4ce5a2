/** The faults of the tests' network: were they none, scenarios that stand on them would show nothing. */
import { describe, expect, it } from 'vitest';
import { beat, hup, id, type Network, newCluster, propose } from '../support.ts';

function led(): Network {
  const network = newCluster('ready', 3);
  network.send(hup(1));
  expect(network.raft(1).role).toBe('StateLeader');
  network.delivered = [];
  return network;
}

/** From and to of what was delivered, without what the test sent itself. */
function links(network: Network): string[] {
  return network.delivered.filter(({ from, to }) => from !== to).map(({ from, to }) => `${from}>${to}`);
}

describe('The network of the tests', () => {
  it('delivers, one message after the other, until it is quiet', () => {
    const network = led();
    network.send(propose(1, 'some data'));
    // The append and its answer, then the commit index and its answer.
    expect(links(network)).toEqual(['1>2', '1>3', '2>1', '3>1', '1>2', '1>3', '2>1', '3>1']);
    expect([1, 2, 3].map((n) => network.node(n).applied.length)).toEqual([2, 2, 2]);
  });

  it('cuts links, isolates members, and recovers', () => {
    const network = led();
    network.cut(1, 2);
    network.send(beat(1));
    expect(links(network)).toEqual(['1>3', '3>1']);
    network.recover();
    network.isolate(1);
    network.delivered = [];
    network.send(beat(1));
    expect(links(network)).toEqual([]);
    network.recover();
    network.send(beat(1));
    expect(links(network)).toEqual(['1>2', '1>3', '2>1', '3>1']);
  });

  it('loses kinds of messages, and what a filter does not want', () => {
    const network = led();
    network.ignore('MsgHeartbeatResp');
    network.filter = ({ to }) => to !== id(2);
    network.send(beat(1));
    expect(links(network)).toEqual(['1>3']);
  });

  it('loses messages by chance, which repeats', () => {
    const run = (): string[] => {
      const network = led();
      network.drop(1, 2, 0.5);
      for (let nth = 0; nth < 100; nth += 1) network.send(beat(1));
      return links(network);
    };
    const passed = run().filter((link) => link === '1>2').length;
    expect(passed).toBeGreaterThan(30);
    expect(passed).toBeLessThan(70);
    expect(run()).toEqual(run());
  });

  it('keeps messages back and lets them go', () => {
    const network = led();
    network.hold = ({ type }) => type === 'MsgHeartbeatResp';
    network.send(beat(1));
    expect(links(network)).toEqual(['1>2', '1>3']);
    expect(network.held.map(({ from }) => from)).toEqual([id(2), id(3)]);
    network.letGo();
    expect(links(network)).toEqual(['1>2', '1>3', '2>1', '3>1']);
    expect(network.held).toEqual([]);
  });
});
