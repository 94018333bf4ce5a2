/**
 * What articles cost, over gRPC.
 *
 * @module
 */
import { type handleUnaryCall, Server, ServerCredentials } from '@grpc/grpc-js';
import { id, register } from './instance.ts';
import { type Price, type PriceRequest, pricesContract } from './prices-contract.ts';

const server = new Server();
const Get: handleUnaryCall<PriceRequest, Price> = ({ request }, callback) => {
  callback(null, { cents: 100 * request.article.length, answeredBy: id });
};
server.addService(pricesContract, { Get });
const port = await new Promise<number>((resolve, reject) => {
  server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
    error === null ? resolve(bound) : reject(error),
  );
});
await register({
  name: 'prices',
  port,
  protocol: 'grpc',
  stop: () => new Promise((resolve) => server.tryShutdown(() => resolve())),
});
