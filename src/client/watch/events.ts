/**
 * What a watcher yields.
 *
 * Two kinds of event are changes of the store, `put` and `delete`; two are about the watch
 * itself and come only when asked for, `progress` and `resync`. Switch on `type`.
 *
 * The order: changes come in the order of their revisions, those of one revision (one
 * transaction) together. The exception are the `synthetic` ones between the two marks of a
 * resync, which come in the order of the keys: they stand for history that nobody can read
 * any more.
 *
 * @module
 */

import type { Event as WireEvent, KeyValue as WireKeyValue } from '../../protocol/generated/mvccpb.ts';
import type { Revision } from '../../protocol/int64.ts';
import { EMPTY } from '../../protocol/wire.ts';
import type { KeyValue } from '../kv/key-value.ts';

/** A key was written. */
export interface PutEvent<V = string> {
  readonly type: 'put';
  readonly kv: KeyValue<V>;
  /** The key before the change: only with `prevKv`, if it was there, and if that history has not been compacted. */
  readonly previous: KeyValue<V> | undefined;
  /** The revision of the change. */
  readonly revision: Revision;
  /** Whether the key was not there before. Of a synthetic event: not there as far as this watcher has told. */
  readonly isCreate: boolean;
  /** Whether it comes from reading the current state in place of lost history. */
  readonly synthetic: boolean;
}

/** A key was deleted, or its lease ended. */
export interface DeleteEvent<V = string> {
  readonly type: 'delete';
  /** The key, and as `modRevision` the revision of the delete. There is no value: `valueBytes` is empty. */
  readonly kv: KeyValue<V>;
  /** The key before the change: only with `prevKv`, and if that history has not been compacted. */
  readonly previous: KeyValue<V> | undefined;
  /** The revision of the delete; of a synthetic event the revision at which the key was found to be gone. */
  readonly revision: Revision;
  readonly isCreate: false;
  /** Whether it comes from reading the current state in place of lost history. */
  readonly synthetic: boolean;
}

/** Everything up to a revision has been delivered, and nothing at or below it follows. Only with `progress: true`. */
export interface ProgressEvent {
  readonly type: 'progress';
  readonly revision: Revision;
}

/** Why a watcher had to read the current state. */
export type ResyncReason =
  /** The history it needed next has been compacted. */
  | 'compacted'
  /** Its reader was too slow, and `whenSlow` is `resync`. */
  | 'slow-reader';

/**
 * The frame around the synthetic events of a resync. After `start`, what was delivered and
 * the store do not agree; after `end`, the watcher has told everything up to `revision`.
 * A resync that has to begin anew yields another `start`.
 */
export interface ResyncEvent {
  readonly type: 'resync';
  readonly phase: 'start' | 'end';
  readonly reason: ResyncReason;
  /** The revision of the state that was read. */
  readonly revision: Revision;
}

/** A change of the store. */
export type ChangeEvent<V = string> = PutEvent<V> | DeleteEvent<V>;

/** Anything that a watcher yields. */
export type WatchEvent<V = string> = ChangeEvent<V> | ProgressEvent | ResyncEvent;

/** What one response of the server brought. */
export interface WatchBatch<V = string> {
  /**
   * Everything up to this revision has been delivered once this batch has, and nothing at or
   * below it follows. During a resync it stays where the lost history began.
   */
  readonly revision: Revision;
  /** The changes, all events of a revision in one batch; none in a batch that only reports progress. */
  readonly events: readonly ChangeEvent<V>[];
  /** Present in a batch that is the mark of a resync. */
  readonly resync?: ResyncEvent | undefined;
}

/** How to show keys and values; of a keyspace. */
export interface WatchView<V> {
  keyValue(wire: WireKeyValue): KeyValue<V>;
}

const NO_KEY: WireKeyValue = { key: EMPTY, createRevision: 0n, modRevision: 0n, version: 0n, value: EMPTY, lease: 0n };

/** The revision of an event on the wire. */
export function revisionOf(wire: WireEvent): bigint {
  return wire.kv === undefined ? 0n : wire.kv.modRevision;
}

/** The event for one on the wire. A change that the store made is a creation if it says so; see `isCreate`. */
export function toChange<V>(wire: WireEvent, view: WatchView<V>): ChangeEvent<V> {
  const kv = wire.kv ?? NO_KEY;
  const previous = wire.prevKv === undefined ? undefined : view.keyValue(wire.prevKv);
  const revision = kv.modRevision as Revision;
  if (wire.type !== 0) {
    return { type: 'delete', kv: view.keyValue(kv), previous, revision, isCreate: false, synthetic: false };
  }
  const isCreate = kv.createRevision === revision;
  return { type: 'put', kv: view.keyValue(kv), previous, revision, isCreate, synthetic: false };
}

/** The event for a change that was found by comparing states. */
export function toSyntheticChange<V>(wire: WireEvent, isNew: boolean, view: WatchView<V>): ChangeEvent<V> {
  const change = toChange(wire, view);
  return change.type === 'put' ? { ...change, isCreate: isNew, synthetic: true } : { ...change, synthetic: true };
}
