/** Both servers, new and empty, and what comes of the same steps on them. */
import { EtcdServer } from '../../../src/server/index.ts';
import { EtcdCluster } from '../../support/etcd-cluster.ts';
import { DELIBERATE, type Deliberate } from './deliberate.ts';
import { Side } from './side.ts';
import type { Step } from './steps.ts';

/** What is said in the end must be said in this time: both have heard it all by then. */
const LATE_MS = 3_000;
const LOOK_MS = 10;

/** What came of one step. */
export interface Compared {
  readonly ours: string;
  readonly theirs: string;
  readonly equal: boolean;
  /** Which entry of the table a difference is. */
  readonly deliberate?: Deliberate | undefined;
  /** The real etcd's answer. */
  readonly answer: unknown;
}

export class Pair implements AsyncDisposable {
  readonly #server: EtcdServer;
  readonly #cluster: EtcdCluster;
  readonly ours: Side;
  readonly theirs: Side;

  private constructor(server: EtcdServer, cluster: EtcdCluster, ours: Side, theirs: Side) {
    this.#server = server;
    this.#cluster = cluster;
    this.ours = ours;
    this.theirs = theirs;
  }

  static async start(): Promise<Pair> {
    const cluster = await EtcdCluster.start({ version: '3.5' });
    const server = await EtcdServer.start({ name: 'm1', heartbeatMs: 20, electionMs: 200, bcryptCost: 4 });
    const [address] = cluster.members;
    const ours = await Side.connect('ours', server.endpoint);
    return new Pair(server, cluster, ours, await Side.connect('theirs', address?.address ?? ''));
  }

  /** Where ours serves, and where theirs. */
  get urls(): { readonly ours: string; readonly theirs: string } {
    return { ours: this.#server.clientUrl, theirs: this.#cluster.endpoints[0] as string };
  }

  async take(step: Step): Promise<Compared> {
    const [ours, theirs] = await Promise.all([this.ours.take(step), this.theirs.take(step)]);
    if (step.kind === 'drain' && ours.text === theirs.text) return this.#compareWatches();
    const texts = { ours: ours.text, theirs: theirs.text };
    if (ours.text === theirs.text) return { ...texts, equal: true, answer: theirs.answer };
    const deliberate = DELIBERATE.find(({ matches }) => matches(step, texts));
    return { ...texts, equal: false, deliberate, answer: theirs.answer };
  }

  /** What was heard: the same, at last. */
  async #compareWatches(): Promise<Compared> {
    const looks = LATE_MS / LOOK_MS;
    for (let look = 1; ; look += 1) {
      const [ours, theirs] = [this.ours.watched, this.theirs.watched];
      if (ours === theirs || look > looks) return { ours, theirs, equal: ours === theirs, answer: undefined };
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.ours.close();
    this.theirs.close();
    await this.#server.stop();
    await this.#cluster[Symbol.asyncDispose]();
  }
}
