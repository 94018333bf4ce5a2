/**
 * Kinds of work on a cluster that is being hurt: what users do, what they are told, and what that must add up to.
 *
 * Each user works through the package's own client, and most through a recipe, until told to stop. What breaks is to be
 * told by an error of the client or of the recipes; whoever has one goes on with a new session, as a program would. Any
 * other error ends the run.
 *
 * A kind is judged by the history of its keys wherever that can show it: what it was told is held against that. A
 * request without an answer may be done at any time, or never; so what is judged must hold for both.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { RecipeError } from '../../../../recipes/errors.ts';
import { Session } from '../../../../recipes/session.ts';
import { Etcd, EtcdError, type EtcdOptions } from '../../../../src/index.ts';
import type { KeyEvent } from '../../../recipes/await-point-history.ts';

/** Longer than most faults: what a member's fault costs is not to be the sessions of all. */
const TTL_SECONDS = 8;
/** Between two turns of a user. */
const REST_MS = 20;
/** Notice soon that a member does not answer; but not that a busy machine is slow. */
const CLIENT: EtcdOptions = {
  timeoutMs: 3_000,
  connectTimeoutMs: 2_000,
  keepalive: { minTimeMs: 100, timeMs: 300, timeoutMs: 1_000 },
};

/** Of everything that users write the keys begin so. */
export const KEYS = 'churn-';

/** What users share. */
export interface Field {
  readonly endpoints: readonly string[];
  /** The clients of some programs, each of which does many things, in turn. None is to be closed. */
  readonly nextClient: () => Etcd;
  /** Nothing new is begun. */
  readonly stop: AbortSignal;
  /** Nothing is left to take, and nobody left to follow. */
  readonly drained: AbortSignal;
}

/** One kind of work; see the head of this file. */
export abstract class Work {
  /** What its keys begin with, which also says what it is. */
  readonly name: string;
  /** How much of it was done. */
  done = 0;
  /** What nobody may be told. */
  readonly wrong: string[] = [];

  constructor(name: string) {
    this.name = KEYS + name;
  }

  /** Those who begin nothing new after `field.stop`. They reject with what is no error of the client or of a recipe. */
  abstract users(field: Field): Promise<void>[];

  /** Those who go on until `field.drained`. */
  followers(_field: Field): Promise<void>[] {
    return [];
  }

  /** Asked again and again once users have stopped: what is still to come about, if anything. */
  async unsettled(_etcd: Etcd): Promise<string | undefined> {
    return undefined;
  }

  /** Promises that were broken. @param events All changes of the users' keys. */
  abstract broken(events: readonly KeyEvent[]): string[];
}

/** A client of the cluster, as programs have it. */
export function clientOf({ endpoints }: Pick<Field, 'endpoints'>): Etcd {
  return new Etcd({ endpoints, ...CLIENT });
}

/** So many users, by number. */
export function many(count: number, user: (i: number) => Promise<void>): Promise<void>[] {
  return Array.from({ length: count }, (_, i) => user(i));
}

/** A pause between two turns. */
export function rest(): Promise<void> {
  return sleep(REST_MS);
}

/** Resolves when the signal fires, or has fired. */
export async function fired(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

/** Works under one session after the other until the signal. @param begin Makes what is then done over and over. */
export async function shifts(
  field: Field,
  until: AbortSignal,
  begin: (session: Session) => () => Promise<void>,
): Promise<void> {
  const etcd = field.nextClient();
  while (!until.aborted) {
    await attempt(async () => {
      await using session = await Session.open(etcd, { ttlSeconds: TTL_SECONDS, signal: until });
      const turn = begin(session);
      while (!until.aborted) await turn();
    });
  }
}

/** @returns the error, of those that may be. */
export async function attempt(work: () => Promise<void>): Promise<EtcdError | RecipeError | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    if (!(error instanceof EtcdError || error instanceof RecipeError)) throw error;
    await rest();
    return error;
  }
}
