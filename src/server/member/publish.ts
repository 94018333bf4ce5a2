/**
 * A member tells its cluster its name and where clients reach it. Once that is applied it has a leader, and is a member
 * for everybody: then it may serve clients.
 *
 * @module
 */
import type { InternalRaftRequest } from '../../protocol/generated/raftinternalpb.ts';
import type { Init } from '../../protocol/wire.ts';
import type { Clock } from '../../support/clock.ts';
import { sleep } from '../../support/signals.ts';
import { RpcError } from '../refusals.ts';

/** How long to wait before saying it again, in ms. */
const RETRY_MS = 500;

export interface PublishOptions {
  readonly id: bigint;
  readonly name: string;
  readonly clientUrls: readonly string[] | Promise<readonly string[]>;
  readonly clock: Clock;
  readonly propose: (request: Init<InternalRaftRequest>) => Promise<unknown>;
  /** Ends it. */
  readonly signal: AbortSignal;
}

/**
 * Says it as often as it takes.
 *
 * @returns Whether it was heard; false if the signal came first.
 * @throws what else than a refusal comes of it.
 */
export async function publish({ id, name, clientUrls, clock, propose, signal }: PublishOptions): Promise<boolean> {
  const memberAttributes = { name, clientUrls: [...(await clientUrls)] };
  while (!signal.aborted) {
    try {
      await propose({ clusterMemberAttrSet: { memberID: id, memberAttributes } });
      return true;
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
    }
    await sleep(clock, RETRY_MS, signal);
  }
  return false;
}
