/**
 * The version of the cluster: the lowest of its members', decided by the leader through the log.
 *
 * It looks when its term begins, and every {@link CHECK_MS}. Unless all members have said what they are, nothing is
 * decided; a cluster that has no version yet is of the least one then. It only goes up; down by one, if that was asked
 * for (`downgradeTarget`), and once all members are there the downgrade has ended.
 *
 * Source: etcd's servers 3.5 as observed, and its downgrade guide.
 *
 * @module
 */
import type { InternalRaftRequest } from '../../protocol/generated/raftinternalpb.ts';
import type { Init } from '../../protocol/wire.ts';
import type { Clock, Timer } from '../../support/clock.ts';
import type { Members } from '../apply/state.ts';
import { type V2Put, versionPut } from '../apply/v2-request.ts';

/** How often the leader looks, in ms. */
const CHECK_MS = 4_000;

/** What a cluster has before all have said what they are. */
const LEAST = '3.0.0';

export interface ClusterVersionOptions {
  readonly id: bigint;
  /** Version of this member's server. */
  readonly version: string;
  readonly clock: Clock;
  readonly members: Members;
  /** Versions of the others, by id. */
  readonly versions: () => Promise<ReadonlyMap<bigint, string>>;
  readonly propose: (request: Init<InternalRaftRequest>) => Promise<unknown>;
  readonly proposeV2: (put: V2Put) => Promise<unknown>;
}

/** See the head of this file. */
export class ClusterVersion {
  readonly #options: ClusterVersionOptions;
  #timer: Timer | undefined;
  #leading = false;
  #checking = false;

  constructor(options: ClusterVersionOptions) {
    this.#options = options;
  }

  /** This member leads, and has applied all that its predecessors did. */
  lead(): void {
    this.#leading = true;
    this.#look();
  }

  /** It does not lead, or ends. */
  stop(): void {
    this.#leading = false;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #look(): void {
    this.#timer?.cancel();
    this.#timer = this.#options.clock.after(CHECK_MS, () => this.#look(), { background: true });
    if (this.#checking) return;
    this.#checking = true;
    // The next look tries again.
    this.#check()
      .catch(() => {})
      .finally(() => {
        this.#checking = false;
      });
  }

  async #check(): Promise<void> {
    const { id, version, members, versions, propose, proposeV2 } = this.#options;
    const list = members.list();
    const said = list.length > 1 ? await versions() : new Map<bigint, string>();
    if (!this.#leading) return;
    const all = list.map((member) => minorOf(member.id === id ? version : said.get(member.id)));
    const decision = decide(all, members);
    if (decision === 'end downgrade') await propose({ downgradeInfoSet: { enabled: false, ver: '' } });
    else if (decision) await proposeV2(versionPut(decision.version));
  }
}

/** What is to be proposed; undefined: nothing. @param all what the members said, undefined for who did not. */
function decide(
  all: readonly (string | undefined)[],
  { clusterVersion, downgradeTarget }: Members,
): { readonly version: string } | 'end downgrade' | undefined {
  const known = all.filter((one) => one !== undefined);
  const lowest = known.length === all.length ? known.reduce((a, b) => (isLess(b, a) ? b : a)) : undefined;
  if (clusterVersion === undefined) return { version: lowest ?? LEAST };
  if (lowest === undefined) return undefined;
  const target = minorOf(downgradeTarget);
  const asked = lowest === target && isLess(lowest, clusterVersion);
  if (asked || isLess(clusterVersion, lowest)) return { version: lowest };
  const isDown = target !== undefined && known.every((one) => one === target);
  return isDown ? 'end downgrade' : undefined;
}

/** `3.5.0` of `3.5.30`; undefined if it is no version. */
function minorOf(version: string | undefined): string | undefined {
  const found = /^v?(\d+)\.(\d+)(\.|$)/.exec(version ?? '');
  return found ? `${found[1]}.${found[2]}.0` : undefined;
}

function isLess(a: string, b: string): boolean {
  const [[major = 0, minor = 0], [otherMajor = 0, otherMinor = 0]] = [a, b].map((one) =>
    one.split('.').map(Number),
  ) as [number[], number[]];
  return major === otherMajor ? minor < otherMinor : major < otherMajor;
}
