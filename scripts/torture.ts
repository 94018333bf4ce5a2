/**
 * Hurts the bundled server under load, again and again, and checks each time that nothing acknowledged is lost.
 *
 * Usage: `npm run torture -- [--kills N] [--seed S]`: one member is killed, by default 1,000 times from seed 1 on.
 *
 * `npm run torture -- --cluster [--minutes N] [--round-seconds N] [--servers bundled,bundled,3.5] [--seed S]`: members of
 * a cluster are killed, stopped, cut off and replaced, by default for 10 minutes in rounds of 45 s, of three bundled ones.
 *
 * `npm run torture -- --images [--keys N]`: a member that was away while so many keys were written, by default 1,000,000,
 * and a new one, get an image of all; says how much memory that takes.
 *
 * `npm run torture -- --recipes [--minutes N] [--seed S]`: the client and the recipes on three members that are hurt in
 * every way, one at a time, by default for 10 minutes.
 *
 * Ends with code 1 if anything was broken, and says what, and the server's log of that time.
 *
 * @module
 */
import { parseArgs } from 'node:util';
import { transferImages } from '../test/server/torture/cluster-images.ts';
import { tortureRecipes } from '../test/server/torture/cluster-recipes.ts';
import { tortureCluster } from '../test/server/torture/cluster-torture.ts';
import { torture } from '../test/server/torture/torture.ts';
import type { EtcdVersion } from './etcd.ts';

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '1000' },
    seed: { type: 'string', default: '1' },
    cluster: { type: 'boolean', default: false },
    recipes: { type: 'boolean', default: false },
    images: { type: 'boolean', default: false },
    keys: { type: 'string', default: '1000000' },
    minutes: { type: 'string', default: '10' },
    'round-seconds': { type: 'string', default: '45' },
    servers: { type: 'string', default: 'bundled,bundled,bundled' },
  },
});

function wholeNumber(name: string, text: string): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number < 0) throw new Error(`--${name} takes a whole number`);
  return number;
}

function isServer(name: string): name is EtcdVersion {
  return name === 'bundled' || name === '3.4' || name === '3.5';
}

function run(): Promise<object> {
  const seed = wholeNumber('seed', values.seed);
  const tell = (line: string): void => console.log(`${new Date().toISOString()} ${line}`);
  if (values.images) return transferImages({ keys: wholeNumber('keys', values.keys), tell });
  const totalMs = wholeNumber('minutes', values.minutes) * 60_000;
  if (values.recipes) return tortureRecipes({ seed, ms: totalMs, tell });
  if (!values.cluster) return torture({ kills: wholeNumber('kills', values.kills), seed, tell });
  const versions = values.servers.split(',').filter(isServer);
  const roundMs = wholeNumber('round-seconds', values['round-seconds']) * 1_000;
  return tortureCluster({ versions, seed, roundMs, totalMs, tell });
}

const begunAt = performance.now();
try {
  const report = await run();
  console.log(JSON.stringify({ ...report, seconds: Math.round((performance.now() - begunAt) / 1000) }));
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
