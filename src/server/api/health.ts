/**
 * gRPC's health service, for whoever balances load: the server as a whole, which is the only name etcd knows.
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

/** See the head of this file. A watch lasts as long as its caller, as nothing changes before the server ends. */
export function healthMethods(guard: Guard): readonly Method[] {
  return [
    guard.unary(Health.check, async ({ service }) => {
      if (service !== '') throw new RpcError(UNKNOWN_SERVICE);
      return { status: Status.SERVING };
    }),
    guard.serverStream(Health.watch, async ({ service }, { signal }, out) => {
      out.send({ status: service === '' ? Status.SERVING : Status.SERVICE_UNKNOWN });
      await new Promise<void>((resolve) => onAbort(signal, resolve));
    }),
  ];
}
