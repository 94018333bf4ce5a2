/**
 * How many of an article are left, over HTTP.
 *
 * @module
 */
import { serve } from './http-service.ts';
import { id } from './instance.ts';

/** What `stock` answers. */
export interface Stock {
  readonly left: number;
  readonly answeredBy: string;
}

await serve('stock', async (path): Promise<Stock> => ({ left: path.length, answeredBy: id }));
