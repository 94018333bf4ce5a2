/**
 * A member tells its cluster its name and where clients reach it. Once that is applied it has a leader, and is a member
 * for everybody: then it may serve clients.
 *
 * @module
 */
import type { Clock } from '../../support/clock.ts';
import { sleep } from '../../support/signals.ts';
import { attributesPut, type V2Put } from '../apply/v2-request.ts';
import { RpcError } from '../refusals.ts';

/** How long to wait before saying it again, in ms. */
const RETRY_MS = 500;

export interface PublishOptions {
  readonly id: bigint;
  readonly name: string;
  readonly clientUrls: readonly string[] | Promise<readonly string[]>;
  readonly clock: Clock;
  readonly propose: (put: V2Put) => Promise<unknown>;
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
  const put = attributesPut(id, name, await clientUrls);
  while (!signal.aborted) {
    try {
      await propose(put);
      return true;
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
    }
    await sleep(clock, RETRY_MS, signal);
  }
  return false;
}
