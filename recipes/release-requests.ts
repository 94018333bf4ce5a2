/**
 * Asking the holder of a lock to give it up.
 *
 * The request is written into the holder's own key, whose lease and create revision stay as
 * they are: so it reaches exactly the holder it was meant for, goes when that one goes, and
 * leaves nothing behind. A holder that did not say it listens is not written to.
 *
 * Source: Curator's `Revoker`, which sets the data of the holder's node.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import { describeOwner, type Owner } from './names.ts';

/** Somebody asks for the lock. It is a wish: the holder decides. */
export interface ReleaseRequest {
  /** Who asks. */
  readonly by: Owner;
  /** Why, if they said so. */
  readonly reason: string | undefined;
}

interface WrittenRequest extends ReleaseRequest {
  readonly id: string;
}

/** How many requests a key keeps: the latest. Who asks again and again must not fill the store. */
const MAX_REQUESTS = 8;

/** What a holder that listens has in its key. */
export const LISTENS = { listens: true } as const;

/** The holder's value with one more request; undefined when it does not listen. */
export function withRequest(value: string, owner: string | undefined, reason: string | undefined): string | undefined {
  const parsed = parse(value);
  if (parsed?.listens !== true) return undefined;
  const request: WrittenRequest = { id: randomBytes(6).toString('hex'), by: describeOwner(owner), reason };
  return JSON.stringify({ ...parsed, requests: [...requestsOf(parsed), request].slice(-MAX_REQUESTS) });
}

/** Tells `listener` of each request once. What it throws is shown as a warning of the process, and changes nothing. */
export function requestReader(listener: (request: ReleaseRequest) => void): (value: string) => void {
  const told = new Set<string>();
  return (value) => {
    for (const { id, by, reason } of requestsOf(parse(value))) {
      if (told.has(id)) continue;
      told.add(id);
      try {
        listener({ by, reason });
      } catch (error) {
        process.emitWarning(error instanceof Error ? error : String(error));
      }
    }
  };
}

interface Parsed {
  readonly listens?: unknown;
  readonly requests?: unknown;
}

function parse(value: string): Parsed | undefined {
  try {
    const parsed: unknown = JSON.parse(value);
    return typeof parsed === 'object' && parsed !== null ? parsed : undefined;
  } catch {
    return undefined;
  }
}

function requestsOf(parsed: Parsed | undefined): WrittenRequest[] {
  if (!Array.isArray(parsed?.requests)) return [];
  return (parsed.requests as unknown[]).filter(
    (request): request is WrittenRequest => typeof (request as Partial<WrittenRequest> | null)?.id === 'string',
  );
}
