/**
 * How recipes name their keys.
 *
 * A recipe called `orders` lives under `orders/`, as Go's `concurrency` package and
 * `etcdctl lock` have it, so programs in both languages meet at the same keys. A slash in
 * a name is escaped: otherwise whoever holds `a/b` would stand in the queue of `a`.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { formatId, InvalidArgumentError, type LeaseId } from '../src/index.ts';

/** The prefix of a recipe's keys. @throws InvalidArgumentError for an empty name. */
export function recipePrefix(name: string): string {
  if (typeof name !== 'string' || name === '') throw new InvalidArgumentError('the name is empty');
  return `${name.replaceAll('%', '%25').replaceAll('/', '%2F')}/`;
}

/**
 * A key of one participant: `<prefix><lease in hexadecimal>-<nonce>`. The nonce makes it
 * one try's own: after a lost reply, whether *this* try was applied can be told, and no
 * later try of the same session is mistaken for it.
 */
export function participantKey(prefix: string, lease: LeaseId): string {
  return `${prefix}${formatId(lease)}-${randomBytes(6).toString('hex')}`;
}

/** Who holds a key, for people and for error messages. */
export interface Owner {
  /** A name given by the program; its host and process otherwise. */
  readonly owner: string;
  readonly host: string;
  readonly pid: number;
  /** When it was written, by that host's clock; for people, nothing is decided by it. */
  readonly since: string;
}

/** What this process writes into its keys. */
export function ownerText(owner: string | undefined): string {
  const host = hostname();
  const value: Owner = {
    owner: owner ?? `${host}:${process.pid}`,
    host,
    pid: process.pid,
    since: new Date().toISOString(),
  };
  return JSON.stringify(value);
}

/** Reads what a participant wrote; a key of Go or etcdctl has an empty value. */
export function parseOwner(text: string): Owner | undefined {
  try {
    const value = JSON.parse(text) as Partial<Owner> | null;
    if (typeof value !== 'object' || value === null || typeof value.owner !== 'string') return undefined;
    return { owner: value.owner, host: value.host ?? '', pid: value.pid ?? 0, since: value.since ?? '' };
  } catch {
    return undefined;
  }
}
