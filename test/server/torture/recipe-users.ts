/**
 * Users of a cluster that is being hurt: each works through the package's own client, and most through a recipe, until
 * they are told to stop, and keeps what it was told. What that must add up to is in `recipe-promises.ts`.
 *
 * What breaks is to be told by an error of the client or of the recipes; whoever has one goes on with a new session, as a
 * program would. Any other error ends the run.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Counter } from '../../../recipes/counter.ts';
import { Election } from '../../../recipes/election/election.ts';
import { RecipeError, UnknownOutcomeError } from '../../../recipes/errors.ts';
import { Mutex } from '../../../recipes/mutex.ts';
import { Queue } from '../../../recipes/queue/queue.ts';
import { Session } from '../../../recipes/session.ts';
import { stm } from '../../../recipes/stm/stm.ts';
import { Etcd, EtcdError, type EtcdOptions } from '../../../src/index.ts';

/** Longer than most faults: what a member's fault costs is not to be the sessions of all. */
const TTL_SECONDS = 8;
const REST_MS = 20;
/** Notice soon that a member does not answer; but not that a busy machine is slow. */
const CLIENT: EtcdOptions = {
  timeoutMs: 3_000,
  connectTimeoutMs: 2_000,
  keepalive: { minTimeMs: 100, timeMs: 300, timeoutMs: 1_000 },
};

/** Of everything that users write the keys begin so. */
export const KEYS = 'churn-';
export const LOCK = `${KEYS}lock`;
export const ELECTION = `${KEYS}election`;
export const QUEUE = `${KEYS}queue`;
export const COUNTER = `${KEYS}counter`;
export const REGISTERS = `${KEYS}registers/`;
export const ACCOUNTS = `${KEYS}accounts/`;
export const ACCOUNT_NAMES = ['a', 'b', 'c', 'd'] as const;
export const OPENING = 100;
/** Under whose guard something was done, as the holder has said by a write: the token. */
export const dataOf = (name: string): string => `${name}-data`;

/** What there is to do. */
export const WORK = ['registers', 'lock', 'election', 'queue', 'counter', 'bank'] as const;
export type Work = (typeof WORK)[number];

/** What users were told. */
export class Told {
  /** How much of each was done. */
  readonly done: Record<Work, number> = { registers: 0, lock: 0, election: 0, queue: 0, counter: 0, bank: 0 };
  /** By register, the numbers that were acknowledged. */
  readonly written = new Map<string, number[]>();
  /** By register, those of which nobody knows: they may be written at any time, as by a member that was stopped. */
  readonly unknownWrites = new Map<string, Set<number>>();
  /** By register, those that were refused for good. */
  readonly refusedWrites = new Map<string, Set<number>>();
  /** Who led, by term. */
  readonly leaders = new Map<bigint, Set<string>>();
  readonly enqueued = new Set<string>();
  readonly refused = new Set<string>();
  readonly taken: string[] = [];
  /** Takings of which nobody knows. */
  unknownTakes = 0;
  added = 0;
  unknownAdds = 0;
  transfers = 0;
  unknownTransfers = 0;
  /** What nobody may be told. */
  readonly wrong: string[] = [];
}

/** What users share. */
export interface Field {
  readonly endpoints: readonly string[];
  readonly told: Told;
  /** Nothing new is begun. */
  readonly stop: AbortSignal;
  /** Nothing is left to take. */
  readonly drained: AbortSignal;
}

/** A client of the cluster, as users have it. */
export function clientOf({ endpoints }: Pick<Field, 'endpoints'>): Etcd {
  return new Etcd({ endpoints, ...CLIENT });
}

/** All of them; resolves when they have stopped. @throws what is no error of the client or of a recipe. */
export async function useAll(field: Field): Promise<void> {
  await Promise.all([
    ...[0, 1, 2].map((i) => write(field, `${REGISTERS}${i}`)),
    ...[0, 1, 2].map(() => lock(field)),
    ...[0, 1, 2].map((i) => lead(field, `candidate ${i}`)),
    ...[0, 1].map((i) => produce(field, `p${i}`)),
    ...[0, 1].map(() => consume(field)),
    ...[0, 1].map(() => count(field)),
    ...[0, 1].map((i) => transfer(field, i)),
  ]);
}

/** Works under one session after the other until the signal. */
async function shifts(field: Field, until: AbortSignal, work: (session: Session) => Promise<void>): Promise<void> {
  await using etcd = clientOf(field);
  while (!until.aborted) {
    await attempt(async () => {
      await using session = await Session.open(etcd, { ttlSeconds: TTL_SECONDS, signal: until });
      while (!until.aborted) await work(session);
    });
  }
}

/** @returns the error, of those that may be. */
async function attempt(work: () => Promise<void>): Promise<EtcdError | RecipeError | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    if (!(error instanceof EtcdError || error instanceof RecipeError)) throw error;
    await sleep(REST_MS);
    return error;
  }
}

/** Writes one number after the other, and reads what it finds: what was acknowledged last, or what nobody knows of. */
async function write(field: Field, key: string): Promise<void> {
  const { told, stop } = field;
  await using etcd = clientOf(field);
  const written: number[] = [];
  const [unknown, refused] = [new Set<number>(), new Set<number>()];
  told.written.set(key, written);
  told.unknownWrites.set(key, unknown);
  told.refusedWrites.set(key, refused);
  for (let n = 1; !stop.aborted; n += 1) {
    const error = await attempt(async () => {
      await etcd.put(key, String(n));
      written.push(n);
      told.done.registers += 1;
    });
    if (error) (error instanceof EtcdError && error.applied === 'no' ? refused : unknown).add(n);
    await attempt(async () => {
      const found = Number((await etcd.get(key))?.value ?? 0);
      const last = written.at(-1) ?? 0;
      if (found !== last && !unknown.has(found)) told.wrong.push(`${key} is ${found} after ${last}`);
    });
    await sleep(REST_MS);
  }
}

async function lock(field: Field): Promise<void> {
  const { told, stop } = field;
  await shifts(field, stop, async (session) => {
    await using held = await new Mutex(session, LOCK).acquire({ signal: stop });
    await held.guard({ then: [session.etcd.op.put(dataOf(LOCK), String(held.token))] });
    told.done.lock += 1;
    await held.release();
    await sleep(REST_MS);
  });
}

async function lead(field: Field, who: string): Promise<void> {
  const { told, stop } = field;
  await shifts(field, stop, async (session) => {
    await using leader = await new Election(session, ELECTION).campaign({ value: who, signal: stop });
    const leaders = told.leaders.get(leader.term) ?? new Set();
    told.leaders.set(leader.term, leaders.add(who));
    await leader.kv.put(dataOf(ELECTION), String(leader.term));
    told.done.election += 1;
    await leader.resign();
    await sleep(REST_MS);
  });
}

async function produce(field: Field, who: string): Promise<void> {
  const { told, stop } = field;
  let n = 0;
  await shifts(field, stop, async (session) => {
    const value = `${who}-${n}`;
    n += 1;
    const error = await attempt(async () => {
      await new Queue(session, QUEUE).enqueue(value);
      told.enqueued.add(value);
    });
    if (error && !(error instanceof UnknownOutcomeError)) told.refused.add(value);
    if (error) throw error;
    await sleep(REST_MS);
  });
}

async function consume(field: Field): Promise<void> {
  const { told, drained } = field;
  await shifts(field, drained, async (session) => {
    const queue = new Queue(session, QUEUE);
    const error = await attempt(async () => {
      told.taken.push((await queue.dequeue({ signal: drained })).value);
      told.done.queue += 1;
    });
    if (error instanceof UnknownOutcomeError) told.unknownTakes += 1;
    if (error) throw error;
  });
}

async function count(field: Field): Promise<void> {
  const { told, stop } = field;
  await shifts(field, stop, async (session) => {
    const error = await attempt(async () => {
      await new Counter(session, COUNTER).add(1n);
      told.added += 1;
      told.done.counter += 1;
    });
    if (error instanceof UnknownOutcomeError) told.unknownAdds += 1;
    if (error) throw error;
    await sleep(REST_MS);
  });
}

/** Moves money between accounts: what it was told of each transfer, its receipt has to bear out. */
async function transfer(field: Field, teller: number): Promise<void> {
  const { told, stop } = field;
  await using etcd = clientOf(field);
  for (let n = 0; !stop.aborted; n += 1) {
    const at = teller + n;
    const [payer, payee] = [ACCOUNT_NAMES[at % 4] as string, ACCOUNT_NAMES[(at + 1 + (n % 3)) % 4] as string];
    const error = await attempt(async () => {
      await stm(etcd, async (tx) => {
        const bank = tx.keyspace(ACCOUNTS);
        const [from, to] = await Promise.all([bank.get(payer), bank.get(payee)]);
        bank.put(payer, String(Number(from ?? OPENING) - 7));
        bank.put(payee, String(Number(to ?? OPENING) + 7));
        tx.put(`${KEYS}receipts/${teller}-${n}`, '');
      });
      told.transfers += 1;
      told.done.bank += 1;
    });
    if (error instanceof UnknownOutcomeError) told.unknownTransfers += 1;
    await sleep(REST_MS);
  }
}
