/**
 * The server inside a program, in memory: prints how long it takes from the call that starts it to the first put that
 * is done, in ms, as one line of JSON.
 *
 * @module
 */
import { performance } from 'node:perf_hooks';
import type * as server from '../../src/server/index.ts';
import { putOnce } from './servers.ts';

const built = new URL('../../dist/src/server/index.js', import.meta.url).href;
const { EtcdServer } = (await import(built)) as typeof server;

const startedAt = performance.now();
await using embedded = await EtcdServer.start();
await putOnce(embedded.endpoint);
process.stdout.write(`${JSON.stringify({ firstPutMs: performance.now() - startedAt })}\n`);
