/**
 * A configuration that programs follow while they run: checked before it is published and before it is used.
 *
 *   node --import tsx examples/config.ts
 *
 * @module
 */
import { once } from 'node:events';
import { Config } from 'etcdkit/recipes';
import * as z from 'zod';
import { connect } from './support/connect.ts';

await using etcd = await connect();
const config = new Config(etcd, 'config/limits', {
  schema: z.object({ perSecond: z.int().positive() }),
  default: { perSecond: 10 },
});

await using limits = await config.open();
console.log(`nobody has published any: ${limits.value.perSecond}`);

const told = new EventTarget();
limits.onChange(() => void told.dispatchEvent(new Event('change')));
limits.onError(() => void told.dispatchEvent(new Event('error')));

const changed = once(told, 'change');
await config.publish({ perSecond: 50 });
await changed;
console.log(`published, and in use: ${limits.value.perSecond}`);

const refused = await config.publish({ perSecond: -1 }).catch((error: unknown) => error);
console.log(`a wrong value is ${refused instanceof Error ? 'refused' : 'published'}`);

// Somebody writes it past the schema, with etcdctl say: the last good value stays in use.
const failed = once(told, 'error');
await etcd.put('config/limits', '{"perSecond":"many"}');
await failed;
console.log(
  `${limits.lastError === undefined ? 'all well' : 'an error is told'}, and in use is still ${limits.value.perSecond}`,
);
