/** A peer port with a fake member behind it, and one that asks it. */

import type { Members } from '../../../src/server/apply/state.ts';
import type { PeerHost } from '../../../src/server/member/peers.ts';
import type { PeerTls } from '../../../src/server/options.ts';
import { Asker } from '../../../src/server/peer/ask.ts';
import { credentialsOf } from '../../../src/server/peer/credentials.ts';
import { PeerDialer } from '../../../src/server/peer/dialer.ts';
import { PeerListener } from '../../../src/server/peer/listener.ts';
import { Questions } from '../../../src/server/peer/questions.ts';
import { Refusals } from '../../../src/server/refusals.ts';
import type { BackendMember } from '../../../src/server/snapshot/backend-state.ts';
import type { Clock } from '../../../src/support/clock.ts';
import { systemClock } from '../../../src/support/clock.ts';

/** Larger than what a JavaScript number holds. */
export const CLUSTER_ID = 0xe865_ad96_c068_4057n;
export const SERVER_ID = 0x19ee_3db6_a247_cc81n;
export const ASKER_ID = 0x6f53_dcab_7410_2003n;

export function peer(id: bigint, more: Partial<BackendMember> = {}): BackendMember {
  return {
    id,
    name: `m${id % 10n}`,
    peerUrls: [`http://10.0.0.1:${id % 1_000n}`],
    clientUrls: [],
    isLearner: false,
    ...more,
  };
}

export function membersOf(list: readonly BackendMember[], more: Partial<Members> = {}): Members {
  return {
    list: () => list,
    get: (id) => list.find((one) => one.id === id),
    wasRemoved: () => false,
    clusterVersion: '3.5.0',
    downgradeTarget: undefined,
    ...more,
  };
}

/** A member that refuses everything unless told otherwise. */
export function fakeHost(more: Partial<PeerHost> = {}): PeerHost {
  const refuse = async (): Promise<never> => {
    throw new Error('the test has not said what to answer');
  };
  return {
    id: SERVER_ID,
    clusterId: CLUSTER_ID,
    version: '3.5.30',
    members: membersOf([peer(SERVER_ID)]),
    leader: SERVER_ID,
    now: () => 0,
    receive() {},
    receiveSnapshot: refuse,
    unreachable() {},
    removed() {},
    renewLeaseHere: refuse,
    timeToLiveHere: refuse,
    promoteHere: refuse,
    hashKv: () => Refusals.Stopped,
    ...more,
  };
}

/** Both sides. */
export interface PeerServer extends AsyncDisposable {
  readonly url: string;
  readonly listener: PeerListener;
  readonly asker: Asker;
  readonly questions: Questions;
}

export interface PeerServerOptions {
  readonly host?: Partial<PeerHost>;
  /** What the asker thinks the URLs of the server are; `{url}` stands for the right one. Default: that. */
  readonly urls?: readonly string[];
  readonly serverTls?: PeerTls;
  readonly askerTls?: PeerTls;
  readonly clock?: Clock;
  readonly attach?: boolean;
}

export async function servePeer(options: PeerServerOptions = {}): Promise<PeerServer> {
  const { clock = systemClock, serverTls: tls, askerTls, urls = ['{url}'] } = options;
  const secure = tls !== undefined;
  const listener = await PeerListener.open({ listen: [{ host: '127.0.0.1', port: 0, secure }], tls, clock });
  const url = listener.urls[0] ?? '';
  if (options.attach ?? true) listener.attach(fakeHost(options.host), { handle: () => false });
  const dialer = new PeerDialer(askerTls && credentialsOf(askerTls));
  const asker = new Asker(dialer, clock);
  const peerUrls = urls.map((one) => one.replace('{url}', url));
  const members = membersOf([peer(SERVER_ID, { peerUrls }), peer(ASKER_ID)]);
  const questions = new Questions({ host: { id: ASKER_ID, clusterId: CLUSTER_ID, members }, asker, timeoutMs: 7_000 });
  return {
    url,
    listener,
    asker,
    questions,
    async [Symbol.asyncDispose]() {
      questions.close();
      dialer.close();
      await listener.close();
    },
  };
}
