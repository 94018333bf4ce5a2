/**
 * Where a configuration is kept, and what stands beside it.
 *
 * `<key>` is the value's text and nothing else, so that any tool can read it, and `put` is enough to write it. What belongs
 * to it stands right behind it:
 *
 * - `<key>#about`: who published the value, when and why. Only if it was written at the same revision as the value does it
 *   speak of it; else somebody has written the value with another tool.
 * - `<key>#staged`: a candidate, for a share of the instances.
 * - `<key>#versions/<revision>`: what the value was before, by the revision that had written it. The store forgets its
 *   own history with each compaction; this stays.
 *
 * The order matters: value, about and candidate are next to each other, so that one watch sees them change together, and
 * the versions come behind them.
 *
 * Records are read as if anybody had written them: what is not understood is as good as not there.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import { InvalidArgumentError, type KeyValue, type Revision, type Target } from '../../src/index.ts';
import { describeOwner, type Owner } from '../names.ts';

/** The keys of one configuration. */
export class ConfigKeys {
  readonly key: string;
  readonly about: string;
  readonly staged: string;
  /** The prefix of the versions that are kept. */
  readonly versions: string;

  /** @throws InvalidArgumentError for a key that is empty or has a `#`. */
  constructor(key: string) {
    if (typeof key !== 'string' || key === '') throw new InvalidArgumentError('the key is empty');
    if (key.includes('#'))
      throw new InvalidArgumentError('a key of a configuration has no #: it parts it from what belongs to it');
    this.key = key;
    this.about = `${key}#about`;
    this.staged = `${key}#staged`;
    this.versions = `${key}#versions/`;
  }

  /** The value, what is said about it, and the candidate. */
  get live(): Target {
    return { from: this.key, to: `${this.staged}\0` };
  }

  /** Where a version is kept. */
  version(revision: Revision): string {
    // Of one length, so that the order of keys is the order of revisions.
    return `${this.versions}${String(revision).padStart(19, '0')}`;
  }

  /** The revision of a version that is kept; undefined for a key that is none. */
  revisionOf(versionKey: string): Revision | undefined {
    const digits = versionKey.slice(this.versions.length);
    return versionKey.startsWith(this.versions) && /^\d{19}$/.test(digits) ? (BigInt(digits) as Revision) : undefined;
  }
}

/** Who published something, and why. */
export interface About {
  /** Tells this publication from every other, also when its answer was lost. */
  readonly nonce: string;
  /** Who, on which host, since when: the time of the publication. */
  readonly by: Owner;
  readonly message: string | undefined;
  /** The revision of the value that it replaced; 0 for none. */
  readonly replaced: Revision;
  /** Places that are not to be shown, as of then. */
  readonly secrets: readonly string[];
}

/** What is to be said about a change. */
export function aboutNow(
  author: string | undefined,
  details: { readonly message: string | undefined; readonly replaced: Revision; readonly secrets: readonly string[] },
): About {
  return { nonce: randomBytes(9).toString('base64url'), by: describeOwner(author), ...details };
}

/** A candidate. */
export interface StagedRecord extends About {
  /** Its text. */
  readonly value: string;
  /** For how many of a hundred instances. */
  readonly share: number;
}

/** A version that is kept. */
export interface VersionRecord {
  readonly value: string;
  readonly about: About | undefined;
}

/** A record as text. */
export function recordText(record: About | StagedRecord | VersionRecord): string {
  return JSON.stringify(record, (_name, value: unknown) => (typeof value === 'bigint' ? String(value) : value));
}

/** What is said about a value, if it speaks of this one. */
export function aboutOf(value: KeyValue<string> | undefined, about: KeyValue<string> | undefined): About | undefined {
  return value !== undefined && about?.modRevision === value.modRevision ? readAbout(parsed(about)) : undefined;
}

/** What the key about says, whichever value it speaks of. */
export function lastAbout(about: KeyValue<string> | undefined): About | undefined {
  return readAbout(parsed(about));
}

/** A candidate; undefined when there is none, or nobody understands it. */
export function stagedOf(kv: KeyValue<string> | undefined): StagedRecord | undefined {
  const record = parsed(kv);
  const about = readAbout(record);
  if (about === undefined || typeof record?.['value'] !== 'string') return undefined;
  const share = Number(record['share']);
  return share >= 0 && share <= 100 ? { ...about, value: record['value'], share } : undefined;
}

/** A version that is kept; undefined for what nobody understands. */
export function versionOf(kv: KeyValue<string>): VersionRecord | undefined {
  const record = parsed(kv);
  if (typeof record?.['value'] !== 'string') return undefined;
  return { value: record['value'], about: readAbout(record['about'] as Fields | undefined) };
}

type Fields = Readonly<Record<string, unknown>>;

function readAbout(fields: Fields | undefined): About | undefined {
  if (typeof fields?.['nonce'] !== 'string') return undefined;
  const { nonce, message, secrets, by, replaced } = fields as Fields & { readonly nonce: string };
  const { owner, host, pid, since } = (typeof by === 'object' && by !== null ? by : {}) as Partial<Owner>;
  return {
    nonce,
    by: { owner: text(owner), host: text(host), pid: typeof pid === 'number' ? pid : 0, since: text(since) },
    message: typeof message === 'string' ? message : undefined,
    replaced: (typeof replaced === 'string' && /^\d{1,19}$/.test(replaced) ? BigInt(replaced) : 0n) as Revision,
    secrets: Array.isArray(secrets) ? secrets.filter((path) => typeof path === 'string') : [],
  };
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function parsed(kv: KeyValue<string> | undefined): Fields | undefined {
  const found = kv === undefined ? undefined : textOf(kv);
  if (found === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(found);
    return typeof value === 'object' && value !== null ? (value as Fields) : undefined;
  } catch {
    return undefined;
  }
}

/** A value's text; undefined when it is not UTF-8. */
export function textOf(kv: KeyValue<string>): string | undefined {
  try {
    return kv.value;
  } catch {
    return undefined;
  }
}
