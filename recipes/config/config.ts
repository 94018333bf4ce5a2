/**
 * A configuration in etcd: a value with a type, under one key.
 *
 * Keys: `<key>` has the text and nothing else; what belongs to it stands behind it (keys.ts). Round trips: read 1, publish,
 * stage, promote and abandon 2 (a look and a transaction; a publication over what another tool has written 3), roll back 3
 * to 6, history 2, and 1 or 2 for each version that the store itself remembers. A live configuration costs one list and
 * one watch.
 *
 * Guaranteed: nothing is published that does not fit the schema; a publication replaces what its author has seen, or
 * nothing; the version that it replaces is kept in the same transaction, so that a roll-back does not depend on what the
 * store has not compacted yet. When another tool has written over what was published, that is kept too if it can be read.
 * A change whose answer is lost is resolved, or an UnknownOutcomeError says that nobody knows.
 *
 * A candidate is a value for a share of the instances. It changes nothing for the others until it is promoted, and while
 * there is one nothing else is published: it would be unclear what it is a candidate for.
 *
 * Source: publishing by compare and gray releases are Nacos'; keeping the last good value is what the faults of go-zero,
 * kratos and APISIX teach.
 *
 * @module
 */

import { hostname } from 'node:os';
import { CompactedError, type Etcd, InvalidArgumentError, type KeyValue, type Revision } from '../../src/index.ts';
import { doing } from '../../src/telemetry/recipes.ts';
import { type ChangeOptions, look, makeChange, revisionIn, type Seen } from './change.ts';
import { ConfigConflictError, ConfigError } from './errors.ts';
import { type ConfigHistory, type ConfigVersion, readHistory, readVersion } from './history.ts';
import { type About, aboutNow, aboutOf, ConfigKeys, recordText, stagedOf, textOf } from './keys.ts';
import { LiveConfig, type OpenConfigOptions } from './live-config.ts';
import { ConfigText, type ConfigTextOptions } from './text.ts';

/** What a configuration is. The same for all who use the key. */
export interface ConfigOptions<T, In = T> extends ConfigTextOptions<T, In> {
  /**
   * What programs get while there is no value, or none that was ever good. Without a default they wait for one, and keep
   * the last one when it is deleted.
   */
  readonly default?: T | undefined;
  /** How many versions to keep besides the published one, for ever. Default 10. */
  readonly keep?: number | undefined;
  /** Who publishes, for the history. Default: host and process. */
  readonly author?: string | undefined;
}

/** How to publish. */
export interface PublishOptions extends ChangeOptions {
  /** Publishes only if the value is at this revision; 0 for "there is none". Default: whatever is there now. */
  readonly expected?: Revision | 0n | undefined;
  /** Why, for the history. */
  readonly message?: string | undefined;
  /** What to do with a candidate that is staged: refuse, or take it away. Default `refuse`. */
  readonly staged?: 'refuse' | 'abandon' | undefined;
}

/** How to stage a candidate. */
export interface StageOptions extends ChangeOptions {
  /** For which share of the instances, in percent, 0 to 100. */
  readonly share: number;
  /** Why, for the history. */
  readonly message?: string | undefined;
}

/** A candidate that is staged. */
export interface StagedConfig<T> {
  readonly value: T;
  /** For which share of the instances, in percent. */
  readonly share: number;
  /** The revision that staged it, or changed its share. */
  readonly revision: Revision;
  readonly message: string | undefined;
}

/** A configuration as it was read. */
export interface ConfigReading<T> {
  readonly value: T;
  /** The revision that wrote the value. */
  readonly revision: Revision;
}

const DEFAULT_KEEP = 10;
const DEFAULT_LIMIT = 20;
/** How often a publication without `expected` begins anew when somebody else was quicker. */
const MAX_CONFLICTS = 5;

/**
 * A configuration in etcd.
 *
 * @example
 * ```ts
 * const limits = new Config(etcd, 'config/limits', { schema: z.object({ perSecond: z.number().positive() }) });
 * await limits.publish({ perSecond: 100 }, { message: 'to begin with' });
 * await using live = await limits.open();
 * live.value.perSecond;
 * ```
 */
export class Config<T = unknown, In = T> {
  readonly #etcd: Etcd;
  readonly #keys: ConfigKeys;
  readonly #text: ConfigText<T, In>;
  readonly #options: ConfigOptions<T, In>;

  /** @throws InvalidArgumentError for a key that is empty or has a `#`, or an option that makes no sense. */
  constructor(etcd: Etcd, key: string, options: ConfigOptions<T, In> = {}) {
    const { keep = DEFAULT_KEEP } = options;
    if (!(Number.isSafeInteger(keep) && keep >= 0))
      throw new InvalidArgumentError('keep is not a whole number of at least 0');
    this.#etcd = etcd;
    this.#keys = new ConfigKeys(key);
    this.#text = new ConfigText(options);
    this.#options = options;
  }

  /** The key of the value. */
  get key(): string {
    return this.#keys.key;
  }

  /** Follows it, and waits for the first good value. @throws ConfigError, EtcdError or WaitTimeoutError: why there is none. */
  open(options: OpenConfigOptions = {}): Promise<LiveConfig<T>> {
    const { default: fallback } = this.#options;
    const parts = {
      keys: this.#keys,
      text: this.#text as ConfigText<T, never>,
      instance: options.instance ?? hostname(),
      fallback: fallback === undefined ? undefined : { value: fallback },
    };
    return LiveConfig.open(this.#etcd, parts, options);
  }

  /** Reads what is published; candidates and the default are left out. @throws ConfigError it is missing or wrong. */
  async read(options: ChangeOptions = {}): Promise<ConfigReading<T>> {
    const kv = await this.#etcd.get(this.key, options);
    if (kv === undefined) throw new ConfigError('missing', this.key);
    const { modRevision: revision } = kv;
    return { value: this.#text.read(this.key, this.#textOf(textOf(kv), revision), revision), revision };
  }

  /**
   * Publishes a value.
   *
   * @returns the revision that published it; it names the version.
   * @throws ConfigError it does not fit the schema. ConfigConflictError another value than expected is there, or a candidate
   * is staged. UnknownOutcomeError nobody knows whether it is published; any other error: it is not, nor will be.
   */
  async publish(value: In, options: PublishOptions = {}): Promise<Revision> {
    return this.#doing('publish', async () => this.#publishText(this.#text.write(this.key, value), options));
  }

  /** Publishes a text as it is, with its comments and its order. @throws what {@link Config.publish} throws. */
  async publishText(text: string, options: PublishOptions = {}): Promise<Revision> {
    return this.#doing('publish', async () => {
      this.#text.read(this.key, text);
      return this.#publishText(text, options);
    });
  }

  /**
   * Publishes an earlier version anew, under a new revision.
   *
   * @param to The revision that wrote it, or any at which it was in force.
   * @throws CompactedError that version is not kept, and the store has forgotten it. ConfigError there is none, or it does
   * not fit the schema of today. And what {@link Config.publish} throws.
   */
  async rollBack(to: Revision, options: PublishOptions = {}): Promise<Revision> {
    return this.#doing('rollBack', () => this.#rollBack(to, options));
  }

  /** The versions that there are, the newest first: at most `limit`, by default 20. */
  history(options: ChangeOptions & { readonly limit?: number | undefined } = {}): Promise<ConfigHistory> {
    const { limit = DEFAULT_LIMIT, ...call } = options;
    if (!(Number.isSafeInteger(limit) && limit > 0))
      throw new InvalidArgumentError('limit is not a positive whole number');
    return readHistory(this.#etcd, this.#keys, limit, call);
  }

  /** The version that a revision names; undefined when there was no value then. @throws CompactedError nobody remembers. */
  version(revision: Revision, options: ChangeOptions = {}): Promise<ConfigVersion | undefined> {
    return readVersion(this.#etcd, this.#keys, revision, options);
  }

  /**
   * Gives a value to a share of the instances: those that try it before the others. A second call replaces the candidate.
   * Instances that find it wrong stay with what is published, and report it.
   *
   * @throws what {@link Config.publish} throws.
   */
  async stage(value: In, options: StageOptions): Promise<Revision> {
    return this.#doing('stage', async () => this.#stageText(this.#text.write(this.key, value), options));
  }

  /** Stages a text as it is: {@link Config.stage}. */
  async stageText(text: string, options: StageOptions): Promise<Revision> {
    return this.#doing('stage', async () => {
      this.#text.read(this.key, text);
      return this.#stageText(text, options);
    });
  }

  /** Changes the share of the candidate. @throws ConfigConflictError there is none; what {@link Config.publish} throws. */
  async setShare(share: number, options: ChangeOptions = {}): Promise<Revision> {
    return this.#doing('setShare', async () => {
      const { seen, record } = await this.#lookStaged(options);
      return this.#putStaged(seen, record.value, { ...options, share, message: record.message });
    });
  }

  /** The candidate; undefined when there is none. @throws ConfigError it does not fit. */
  async staged(options: ChangeOptions = {}): Promise<StagedConfig<T> | undefined> {
    const kv = await this.#etcd.get(this.#keys.staged, options);
    const record = stagedOf(kv);
    if (kv === undefined || record === undefined) return undefined;
    const { modRevision: revision } = kv;
    const value = this.#text.read(this.#keys.staged, record.value, revision);
    return { value, share: record.share, revision, message: record.message };
  }

  /** Publishes the candidate for all. @throws ConfigConflictError there is none; what {@link Config.publish} throws. */
  async promote(options: ChangeOptions & { readonly message?: string | undefined } = {}): Promise<Revision> {
    return this.#doing('promote', async () => {
      const { seen, record } = await this.#lookStaged(options);
      const { message = record.message } = options;
      this.#text.read(this.#keys.staged, record.value, seen.staged?.modRevision);
      return this.#replace(seen, record.value, { ...options, message });
    });
  }

  /** Takes the candidate away; done when there is none. @throws what {@link Config.publish} throws. */
  async abandon(options: ChangeOptions = {}): Promise<void> {
    return this.#doing('abandon', () => this.#abandon(options));
  }

  /** In a span. Its name would be a whole key; what may be told of that the calls below tell. */
  #doing<R>(verb: string, work: () => Promise<R>): Promise<R> {
    return doing(this.#etcd, { recipe: 'Config', name: '', verb }, work);
  }

  async #abandon(options: ChangeOptions): Promise<void> {
    const seen = await look(this.#etcd, this.#keys, callOf(options));
    if (seen.staged === undefined) return;
    const change = {
      what: `abandoning the candidate of ${this.key}`,
      on: seen,
      then: [this.#etcd.op.delete(this.#keys.staged)],
      nonce: '',
      writesValue: false,
      isMade: (now: Seen) => now.staged === undefined && revisionIn(now) === revisionIn(seen),
    };
    await makeChange(this.#etcd, this.#keys, change, options);
  }

  async #rollBack(to: Revision, options: PublishOptions): Promise<Revision> {
    const { signal, timeoutMs } = options;
    const version = await readVersion(this.#etcd, this.#keys, to, { signal, timeoutMs });
    if (version === undefined) throw new ConfigError('missing', this.key, { revision: to });
    const text = this.#textOf(version.text, version.revision);
    this.#text.read(this.key, text, version.revision);
    const { message = `roll-back to ${version.revision}` } = options;
    return this.#publishText(text, { ...options, message });
  }

  async #publishText(text: string, options: PublishOptions): Promise<Revision> {
    const { expected, staged = 'refuse' } = options;
    for (let conflicts = 0; ; conflicts++) {
      const seen = await look(this.#etcd, this.#keys, callOf(options));
      if (expected !== undefined && revisionIn(seen) !== expected) {
        throw new ConfigConflictError(
          this.key,
          `it is at revision ${revisionIn(seen)}, and ${expected} was expected`,
          revisionIn(seen),
          seen.staged?.modRevision,
        );
      }
      if (seen.staged !== undefined && staged === 'refuse') throw this.#stagedConflict(seen, 'a candidate is staged');
      try {
        return await this.#replace(seen, text, options);
      } catch (error) {
        // Who does not care what is there means what is there by now.
        const again = expected === undefined && conflicts < MAX_CONFLICTS;
        if (!(error instanceof ConfigConflictError && again)) throw error;
      }
    }
  }

  /** Puts a text in the place of what was seen, and keeps that. A candidate goes. */
  async #replace(seen: Seen, text: string, options: PublishOptions): Promise<Revision> {
    const { op } = this.#etcd;
    const { current, staged } = seen;
    const about = this.#about(seen, options.message);
    const then = [
      op.put(this.key, text),
      op.put(this.#keys.about, recordText(about)),
      ...this.#keeping(seen, await this.#overwritten(seen, options)),
      ...(staged === undefined ? [] : [op.delete(this.#keys.staged)]),
    ];
    const what = `publishing ${this.key}${current === undefined ? '' : ` over revision ${current.modRevision}`}`;
    const change = { what, on: seen, then, nonce: about.nonce, writesValue: true };
    return makeChange(this.#etcd, this.#keys, change, options);
  }

  /** What was published last, if another tool has written over it or deleted it, as far as the store remembers. */
  async #overwritten({ current, about }: Seen, options: ChangeOptions): Promise<KeyValue<string> | undefined> {
    const revision = about?.modRevision;
    if (revision === undefined || revision === current?.modRevision) return undefined;
    try {
      const published = await this.#etcd.get(this.key, { ...callOf(options), revision });
      return published?.modRevision === revision ? published : undefined;
    } catch (error) {
      if (error instanceof CompactedError) return undefined;
      throw error;
    }
  }

  /** Keeps the versions that go, and lets the oldest go of those that were kept. */
  #keeping({ current, about, versions }: Seen, overwritten: KeyValue<string> | undefined) {
    const { op } = this.#etcd;
    const { keep = DEFAULT_KEEP } = this.#options;
    const going = [overwritten, current].flatMap((kv) => {
      const value = kv === undefined ? undefined : textOf(kv);
      if (kv === undefined || value === undefined) return [];
      return [op.put(this.#keys.version(kv.modRevision), recordText({ value, about: aboutOf(kv, about) }))];
    });
    const kept = keep === 0 ? [] : going.slice(-keep);
    const leaving = versions.slice(0, Math.max(0, versions.length - (keep - kept.length)));
    const last = leaving.at(-1);
    // Up to and with the last one: those that are kept now are newer than all.
    return last === undefined ? kept : [...kept, op.delete({ from: this.#keys.versions, to: `${last.key}\0` })];
  }

  async #stageText(text: string, options: StageOptions): Promise<Revision> {
    return this.#putStaged(await look(this.#etcd, this.#keys, callOf(options)), text, options);
  }

  #putStaged(seen: Seen, text: string, { share, message, ...options }: StageOptions): Promise<Revision> {
    if (!(share >= 0 && share <= 100)) throw new InvalidArgumentError('share is not a number from 0 to 100');
    const record = { ...this.#about(seen, message), value: text, share };
    const change = {
      what: `staging a candidate of ${this.key}`,
      on: seen,
      then: [this.#etcd.op.put(this.#keys.staged, recordText(record))],
      nonce: record.nonce,
      writesValue: false,
    };
    return makeChange(this.#etcd, this.#keys, change, options);
  }

  async #lookStaged(options: ChangeOptions) {
    const seen = await look(this.#etcd, this.#keys, callOf(options));
    const record = stagedOf(seen.staged);
    if (record === undefined) throw this.#stagedConflict(seen, 'no candidate is staged');
    return { seen, record };
  }

  #about(seen: Seen, message: string | undefined): About {
    const { author } = this.#options;
    return aboutNow(author, { message, replaced: revisionIn(seen), secrets: this.#text.secrets });
  }

  #stagedConflict(seen: Seen, why: string): ConfigConflictError {
    return new ConfigConflictError(this.key, why, revisionIn(seen), seen.staged?.modRevision);
  }

  #textOf(text: string | undefined, revision: Revision): string {
    if (text === undefined) throw new ConfigError('format', this.key, { revision });
    return text;
  }
}

/** The options of a call alone. */
function callOf({ signal, timeoutMs }: ChangeOptions): ChangeOptions {
  return { signal, timeoutMs };
}
