/**
 * How recipes name their keys.
 *
 * A recipe called `orders` lives under `orders/`, as Go's `concurrency` package and
 * `etcdctl lock` have it, so programs in both languages meet at the same keys. A slash in
 * a name is escaped: otherwise whoever holds `a/b` would stand in the queue of `a`. Go and
 * etcdctl escape nothing: they meet our `a/b` under `a%2Fb`, and theirs is met by a raw name.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { formatId, InvalidArgumentError, type KeyValue, type LeaseId } from '../src/index.ts';

/** How a name becomes a key, for the recipes that programs in Go share. */
export interface NameOptions {
  /**
   * Whether the name stands in keys as it is, as with Go's `concurrency` and etcdctl: to share `team/job` or `/my-lock/`
   * with them. All who mean the same must say the same. Names can nest then: a range of `team/` has the keys of
   * `team/job` in it. Default false: `/` is written `%2F`, and `%` as `%25`.
   */
  readonly rawName?: boolean | undefined;
}

/** The prefix of a recipe's keys. @throws InvalidArgumentError for an empty name, and for one that is no string. */
export function recipePrefix(name: string, { rawName = false }: NameOptions = {}): string {
  if (typeof name !== 'string') throw new InvalidArgumentError('the name is no string');
  if (name === '') throw new InvalidArgumentError('the name is empty');
  return `${rawName ? name : escapeName(name)}/`;
}

/** A name as one part of a key: without a slash. */
export function escapeName(name: string): string {
  return name.replaceAll('%', '%25').replaceAll('/', '%2F');
}

/** The name that {@link escapeName} made this of; undefined when it did not make it. */
export function unescapeName(escaped: string): string | undefined {
  if (escaped.includes('/') || /%(?!25|2F)/.test(escaped)) return undefined;
  return escaped.replaceAll('%2F', '/').replaceAll('%25', '%');
}

/**
 * A key of one participant: `<prefix><lease in hexadecimal>-<nonce>`. The nonce makes it
 * one try's own: after a lost reply, whether *this* try was applied can be told, and no
 * later try of the same session is mistaken for it.
 */
export function participantKey(prefix: string, lease: LeaseId): string {
  return `${prefix}${formatId(lease)}-${randomBytes(6).toString('hex')}`;
}

/**
 * Whether a key below `prefix` is somebody's place in the queue: it hangs on a lease, and
 * what follows the prefix is a lease's id (Go's and etcdctl's keys) or an id and a nonce
 * (ours). Anything else was put there for another purpose, `orders/last` beside a lock
 * called `orders`, or `orders/eu/…` by a Go program that does not escape its names: it
 * holds nothing, and nobody waits for it.
 */
export function isParticipant(kv: KeyValue<unknown>, prefix: string): boolean {
  return kv.lease !== undefined && isParticipantKey(kv.key, prefix);
}

/** Whether a key below `prefix` is written like somebody's place in the queue. */
export function isParticipantKey(key: string, prefix: string): boolean {
  return key.startsWith(prefix) && PARTICIPANT.test(key.slice(prefix.length));
}

// Go writes an id with %x, which gives a negative one its sign.
const PARTICIPANT = /^-?[0-9a-f]{1,16}(?:-[0-9a-f]+)?$/;

/** Who holds a key, for people and for error messages. */
export interface Owner {
  /** A name given by the program; its host and process otherwise. */
  readonly owner: string;
  readonly host: string;
  readonly pid: number;
  /** When it was written, by that host's clock; for people, nothing is decided by it. */
  readonly since: string;
}

/** Who this process is, by the name the program gave its session, if it gave one. */
export function describeOwner(owner: string | undefined): Owner {
  const host = hostname();
  return { owner: owner ?? `${host}:${process.pid}`, host, pid: process.pid, since: new Date().toISOString() };
}

/** What this process writes into its keys; `more` are further fields of a recipe. */
export function ownerText(owner: string | undefined, more: object = {}): string {
  return JSON.stringify({ ...describeOwner(owner), ...more });
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
