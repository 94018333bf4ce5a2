/**
 * What customers see, over HTTP. It knows the other two by their names.
 *
 * @module
 */
import * as grpc from '@grpc/grpc-js';
import { registerEtcdResolver } from 'etcdkit/grpc';
import { serviceDispatcher } from 'etcdkit/undici';
import { fetch } from 'undici';
import { serve } from './http-service.ts';
import { id, registry } from './instance.ts';
import { type Price, type PriceRequest, pricesContract } from './prices-contract.ts';
import type { Stock } from './stock.ts';

/** What `shop` answers. */
export interface ArticlePage {
  readonly article: string;
  readonly cents: number;
  readonly left: number;
  /** The instances that had a part in it. */
  readonly answeredBy: readonly string[];
}

const dispatcher = serviceDispatcher(registry);

registerEtcdResolver(grpc, registry);
// Reading a price twice does no harm: a call that breaks with its connection is made again, at another instance.
const retryPolicy = {
  maxAttempts: 3,
  initialBackoff: '0.01s',
  maxBackoff: '0.1s',
  backoffMultiplier: 2,
  retryableStatusCodes: ['UNAVAILABLE'],
};
const serviceConfig = { methodConfig: [{ name: [{ service: 'shop.Prices' }], retryPolicy }] };
const Prices = grpc.makeClientConstructor(pricesContract, 'Prices');
const prices = new Prices('etcd:///prices', grpc.credentials.createInsecure(), {
  'grpc.service_config': JSON.stringify(serviceConfig),
});

function priceOf(article: string): Promise<Price> {
  const { path, requestSerialize, responseDeserialize } = pricesContract.Get;
  return new Promise((resolve, reject) => {
    const request: PriceRequest = { article };
    const deadline = Date.now() + 5_000;
    prices.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, { deadline }, (error, price) =>
      price === undefined ? reject(error) : resolve(price),
    );
  });
}

async function stockOf(article: string): Promise<Stock> {
  const answer = await fetch(`http://stock/${article}`, { dispatcher, signal: AbortSignal.timeout(5_000) });
  if (!answer.ok) throw new Error(`stock answers ${answer.status}`);
  return (await answer.json()) as Stock;
}

await serve('shop', async (path): Promise<ArticlePage> => {
  const article = path.slice(path.lastIndexOf('/') + 1);
  const [price, stock] = await Promise.all([priceOf(article), stockOf(article)]);
  const answeredBy = [id, price.answeredBy, stock.answeredBy];
  return { article, cents: price.cents, left: stock.left, answeredBy };
});
