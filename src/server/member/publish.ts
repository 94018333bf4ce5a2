/**
 * A member tells its cluster its name and where clients reach it. Once that is applied it has a leader, and is a member
 * for everybody: then it may serve clients.
 *
 * It does no harm to say it twice, so nobody waits long for an attempt of which nothing is heard. It may be lost on its
 * way; and of a member that is behind it may be done, and be in the image that the leader sends: then it is never applied
 * here.
 *
 * @module
 */
import type { Clock } from '../../support/clock.ts';
import { deferred, sleep } from '../../support/signals.ts';
import { attributesPut, type V2Put } from '../apply/v2-request.ts';
import { RpcError } from '../refusals.ts';

/** How long to wait before saying it again, in ms. */
const AGAIN_MS = 1_000;

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
  const outcome = deferred<boolean>();
  const ended = new AbortController();
  const say = async (): Promise<void> => {
    try {
      await propose(put);
      outcome.resolve(true);
    } catch (error) {
      if (error instanceof RpcError) return;
      outcome.reject(error);
    }
    ended.abort();
  };
  while (!signal.aborted && !ended.signal.aborted) {
    void say();
    await sleep(clock, AGAIN_MS, signal, ended.signal);
  }
  // Says nothing if it was heard.
  outcome.resolve(false);
  return outcome.promise;
}
