/** All kinds of work, and what is true of a history whatever was done. */
import type { ChangeEvent } from '../../../../src/index.ts';
import { toKeyEvent } from '../../../recipes/await-point-history.ts';
import { Barring, Latching } from './barriers.ts';
import { Ticking } from './cron.ts';
import { Gathering } from './double-barrier.ts';
import { Queueing } from './items.ts';
import { Working } from './jobs.ts';
import { Electing, Excluding, Permitting, ReadingAndWriting } from './locks.ts';
import { Joining } from './members.ts';
import { Registers } from './registers.ts';
import { Serving } from './services.ts';
import { Banking, Counting } from './sums.ts';
import type { Work } from './work.ts';

/** Of each kind no more is shown. */
const SHOWN = 3;

/** One of each, to be done once. */
export function allWorks(): Work[] {
  return [
    new Registers(),
    new Excluding(),
    new ReadingAndWriting(),
    new Permitting(),
    new Electing(),
    new Barring(),
    new Latching(),
    new Gathering(),
    new Queueing('queue', 2),
    new Queueing('priority', 1),
    new Queueing('delay', 1),
    new Working(),
    new Counting(),
    new Banking(),
    new Ticking(),
    new Joining(),
    new Serving(),
  ];
}

/** Promises that were broken, some of each kind; none if all were kept. @param events All changes of the users' keys, by one watch. */
export function brokenPromises(works: readonly Work[], events: readonly ChangeEvent[]): string[] {
  const history = events.map(toKeyEvent);
  const found = works.map((work) => [...work.wrong, ...work.broken(history)]);
  return [gaps(events), ...found].flatMap((each) => each.slice(0, SHOWN));
}

/** A watch is dense if each key's versions are, and never goes back. */
function gaps(events: readonly ChangeEvent[]): string[] {
  const found: string[] = [];
  const versions = new Map<string, bigint>();
  let last = 0n;
  for (const { type, kv, revision } of events) {
    if (revision < last) found.push(`the watch goes from revision ${last} to ${revision}`);
    last = revision;
    const before = versions.get(kv.key) ?? 0n;
    if (type === 'delete') versions.delete(kv.key);
    else versions.set(kv.key, kv.version);
    const fits = type === 'delete' ? before > 0n : kv.version === before + 1n;
    if (!fits) found.push(`${kv.key}: a ${type} at revision ${revision} comes after version ${before}`);
  }
  return found;
}
