/**
 * gRPC's health service, for whoever balances load: the server as a whole, which is the only name etcd knows.
 *
 * It serves from the first call on; while something is underway that calls had better not wait for, it says that it
 * does not. A watch hears of the last state there is, not of each.
 *
 * Source: https://grpc.io/docs/guides/health-checking/
 *
 * @module
 */
import { Health, HealthCheckResponseServingStatus as Status } from '../../protocol/generated/grpc_health_v1.ts';
import { GrpcCode } from '../../protocol/status.ts';
import { onAbort } from '../../support/signals.ts';
import { type Refusal, RpcError } from '../refusals.ts';
import type { Method } from '../rpc/call.ts';
import type { Guard } from './guard.ts';

const UNKNOWN_SERVICE: Refusal = { text: 'unknown service', grpcCode: GrpcCode.NOT_FOUND };

/** Whether the server wants to be asked. */
export class Serving {
  /** How much is underway that it does not want to be asked during. */
  #pauses = 0;
  readonly #waiting = new Set<() => void>();

  get status(): Status {
    return this.#pauses === 0 ? Status.SERVING : Status.NOT_SERVING;
  }

  /** Does something, and does not want to be asked meanwhile. Rejects with what it rejects with. */
  async pausedDuring(action: () => Promise<void>): Promise<void> {
    this.#change(1);
    try {
      await action();
    } finally {
      this.#change(-1);
    }
  }

  /** Resolves at the next change, or when the signal fires. Never rejects. */
  changed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      let unlisten = (): void => {};
      const done = (): void => {
        unlisten();
        this.#waiting.delete(done);
        resolve();
      };
      this.#waiting.add(done);
      unlisten = onAbort(signal, done);
    });
  }

  #change(by: 1 | -1): void {
    this.#pauses += by;
    for (const done of [...this.#waiting]) done();
  }
}

/** See the head of this file. A watch lasts as long as its caller. */
export function healthMethods(guard: Guard, serving: Serving): readonly Method[] {
  return [
    guard.unary(Health.check, async ({ service }) => {
      if (service !== '') throw new RpcError(UNKNOWN_SERVICE);
      return { status: serving.status };
    }),
    guard.serverStream(Health.watch, async ({ service }, { signal }, out) => {
      let told: Status | undefined;
      while (!signal.aborted) {
        const status = service === '' ? serving.status : Status.SERVICE_UNKNOWN;
        if (status === told) await serving.changed(signal);
        else {
          told = status;
          if (!out.send({ status })) await out.drained();
        }
      }
    }),
  ];
}
