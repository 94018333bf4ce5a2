/**
 * The gRPC contract of `prices`. Its messages are JSON, so that the example needs no compiler of protocol files.
 *
 * @module
 */
import type { MethodDefinition } from '@grpc/grpc-js';

/** What `prices` is asked. */
export interface PriceRequest {
  readonly article: string;
}

/** What it answers. */
export interface Price {
  readonly cents: number;
  readonly answeredBy: string;
}

function method<Request, Response>(path: string): MethodDefinition<Request, Response> {
  const write = (message: Request | Response): Buffer => Buffer.from(JSON.stringify(message));
  const read = <T>(bytes: Buffer): T => JSON.parse(bytes.toString()) as T;
  return {
    path,
    requestStream: false,
    responseStream: false,
    requestSerialize: write,
    requestDeserialize: (bytes) => read<Request>(bytes),
    responseSerialize: write,
    responseDeserialize: (bytes) => read<Response>(bytes),
  };
}

export const pricesContract = { Get: method<PriceRequest, Price>('/shop.Prices/Get') };
