/**
 * Members that are far behind, and new ones: they get an image of everything while clients go on writing. Three kinds:
 * one that was away while all the keys were written; a new one; and one that was stopped (SIGSTOP) until the log behind
 * it was gone, as it is after five minutes of writes, and goes on where it was.
 *
 * The memory of sender and receiver is what Linux says was the most since the transfer began (`VmHWM` of
 * proc_pid_status(5), reset by proc_pid_clear_refs(5)).
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { KV, Maintenance } from '../../../src/protocol/generated/etcdserverpb.ts';
import { probe } from '../../support/http-probe.ts';
import { type ClusterSeat, TorturedCluster, within } from './cluster-seats.ts';
import { TortureFailure } from './ledger.ts';
import type { WireClient } from './wire-client.ts';

const KEYS_IN_TXN = 100;
/** Keys that a connection is used for. */
const KEYS_IN_LOT = 500;
const LANES = 4;
const WRITE_PAUSE_MS = 5;
const POLL_MS = 100;
const PATIENCE_MS = 300_000;
const CALL_MS = 60_000;
/** For so long the log is kept behind an image that was sent, for whoever has to load it first; and a little more. */
const LOG_HELD_MS = 31_000;

export interface ImageOptions {
  readonly keys: number;
  /** Hears how far it is. */
  readonly tell?: ((line: string) => void) | undefined;
}

/** One transfer. Memory in MiB; undefined where there is no `/proc`. */
export interface ImageFigures {
  /** Of the sender, before. */
  readonly senderMiB: number | undefined;
  readonly senderPeakMiB: number | undefined;
  readonly receiverPeakMiB: number | undefined;
  /** Until the receiver had all that was there when it began. */
  readonly seconds: number;
  /** Acknowledged meanwhile. */
  readonly writes: number;
  /** That the receiver took in; what it lacks is not in the log any more. */
  readonly images: number;
}

export interface ImageReport {
  readonly keys: number;
  readonly imageMiB: number;
  /** A member that was away while the keys were written. */
  readonly behind: ImageFigures;
  /** One that was added. */
  readonly fresh: ImageFigures;
  /** One that has all keys, and was stopped while some were written again, until the log behind it was gone. */
  readonly held: ImageFigures;
}

/** Does what the head of this file says, of three bundled members. @throws TortureFailure if one stays behind. */
export async function transferImages({ keys, tell = () => {} }: ImageOptions): Promise<ImageReport> {
  // Each member makes some ten images while the keys are written, and then a few of those that are written again.
  const entries = Math.max(20, Math.ceil(keys / KEYS_IN_TXN / 20));
  // Syncs take most of the time and no memory.
  await using cluster = await TorturedCluster.found(
    ['bundled', 'bundled', 'bundled'],
    [
      `--snapshot-count=${entries}`,
      `--experimental-snapshot-catchup-entries=${Math.ceil(entries / 10)}`,
      '--unsafe-no-fsync',
    ],
  );
  const leader = await leading(cluster);
  const [behind, fresh] = cluster.seats.filter((seat) => seat !== leader) as [ClusterSeat, ClusterSeat];
  await behind.member.kill();
  await fill(cluster, keys);
  await forgetLog(
    cluster,
    cluster.seats.filter((seat) => seat !== behind),
  );
  tell(`${keys} keys are there`);
  const behindFigures = await measure(cluster, behind, async () => cluster.spawn(behind));
  tell(`the member that was away: ${JSON.stringify(behindFigures)}`);
  await cluster.recover();
  await cluster.remove(fresh);
  const freshFigures = await measure(cluster, fresh, () => cluster.add(fresh));
  tell(`the new member: ${JSON.stringify(freshFigures)}`);
  const heldFigures = await holdBack(cluster, fresh, 3 * entries * KEYS_IN_TXN);
  tell(`the member that was stopped: ${JSON.stringify(heldFigures)}`);
  const { dbSize } = await within(fresh.clientUrl, CALL_MS, (client) => client.unary(Maintenance.status, {}));
  await cluster.agree(0n, PATIENCE_MS);
  if (cluster.crashes.length > 0) throw new TortureFailure(cluster.crashes.join('\n'));
  const imageMiB = Math.round(Number(dbSize) / 2 ** 20);
  return { keys, imageMiB, behind: behindFigures, fresh: freshFigures, held: heldFigures };
}

/** Stops a member while `keys` are written again. It does not lead. */
async function holdBack(cluster: TorturedCluster, seat: ClusterSeat, keys: number): Promise<ImageFigures> {
  await cluster.recover();
  const before = await imagesOf(seat);
  seat.member.pause();
  try {
    const others = cluster.seats.filter((other) => other !== seat);
    // What is on its way to it would be read when it goes on; after five minutes those connections are long gone.
    cluster.network.isolate(seat.index);
    await sleep(LOG_HELD_MS);
    await fill(cluster, keys, others);
    await forgetLog(cluster, others);
    const goOn = async (): Promise<void> => {
      cluster.network.reset(seat.index);
      cluster.network.heal();
      seat.member.resume();
    };
    const figures = await measure(cluster, seat, goOn, others);
    return { ...figures, images: figures.images - before };
  } finally {
    cluster.network.heal();
    seat.member.resume();
  }
}

/** How many images a member has taken in, as it says itself. */
function imagesOf(seat: ClusterSeat): Promise<number> {
  return counted(seat, 'etcd_network_snapshot_receive_total_duration_seconds');
}

async function counted({ clientUrl }: ClusterSeat, histogram: string): Promise<number> {
  const { body } = await probe(`${clientUrl}/metrics`, { timeoutMs: CALL_MS });
  const counts = body.matchAll(new RegExp(`^${histogram}_count(?:\\{.*\\})? (\\d+)$`, 'gm'));
  return [...counts].reduce((sum, [, count]) => sum + Number(count), 0);
}

/**
 * Writes on until none of these has the log of what was there before. A member makes one image at a time, and what is
 * in the log when an image begins is cut off when that ends: so the second one from now does it, at the latest.
 */
async function forgetLog(cluster: TorturedCluster, seats: readonly ClusterSeat[]): Promise<void> {
  const saves = (seat: ClusterSeat): Promise<number> => counted(seat, 'etcd_snap_db_save_total_duration_seconds');
  const before = await Promise.all(seats.map(saves));
  const deadline = performance.now() + PATIENCE_MS;
  while ((await Promise.all(seats.map(saves))).some((now, at) => now < (before[at] as number) + 2)) {
    if (performance.now() > deadline) throw new TortureFailure('no images are made');
    await fill(cluster, KEYS_IN_LOT, seats);
    await sleep(POLL_MS);
  }
}

/** Who leads of these, once one does. */
async function leading(cluster: TorturedCluster, among: readonly ClusterSeat[] = cluster.seats): Promise<ClusterSeat> {
  for (;;) {
    const leader = await cluster.leader(among);
    if (leader !== undefined) return leader;
    await sleep(POLL_MS);
  }
}

/** The same puts are sent again where a busy machine gave no answer in time. */
async function fill(
  cluster: TorturedCluster,
  keys: number,
  seats: readonly ClusterSeat[] = cluster.seats.filter(({ member }) => member.running),
): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < keys) {
      const first = next;
      next += KEYS_IN_LOT;
      await cluster.patiently((client) => putLot(client, first, Math.min(KEYS_IN_LOT, keys - first)), seats);
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
}

async function putLot(client: WireClient, first: number, count: number): Promise<void> {
  for (let at = first; at < first + count; at += KEYS_IN_TXN) {
    const success = Array.from({ length: Math.min(KEYS_IN_TXN, first + count - at) }, (_, i) => ({
      requestPut: { key: Buffer.from(`key/${String(at + i).padStart(8, '0')}`), value: Buffer.from(`value ${at + i}`) },
    }));
    await client.unary(KV.txn, { success });
  }
}

async function measure(
  cluster: TorturedCluster,
  receiver: ClusterSeat,
  begin: () => Promise<void>,
  others?: readonly ClusterSeat[],
): Promise<ImageFigures> {
  const sender = await leading(cluster, others);
  const { header } = await within(sender.clientUrl, CALL_MS, (client) => client.unary(Maintenance.status, {}));
  const target = header?.revision ?? 0n;
  const senderMiB = memoryOf(sender, 'VmRSS');
  forgetPeak(sender);
  const stop = new AbortController();
  const writing = writeOn(sender, stop.signal);
  const begunAt = performance.now();
  try {
    await begin();
    await caughtUp(receiver, target);
  } finally {
    stop.abort();
  }
  const seconds = Math.round((performance.now() - begunAt) / 100) / 10;
  const peaks = { senderPeakMiB: memoryOf(sender, 'VmHWM'), receiverPeakMiB: memoryOf(receiver, 'VmHWM') };
  return { senderMiB, ...peaks, seconds, writes: await writing, images: await imagesOf(receiver) };
}

async function writeOn(seat: ClusterSeat, stop: AbortSignal): Promise<number> {
  let writes = 0;
  while (!stop.aborted)
    await within(seat.clientUrl, CALL_MS, async (client) => {
      for (; !stop.aborted; await sleep(WRITE_PAUSE_MS)) {
        await client.unary(KV.put, { key: Buffer.from(`on/${writes % 100}`), value: Buffer.from(`${writes}`) });
        writes += 1;
      }
    }).catch(() => sleep(POLL_MS));
  return writes;
}

/** By what it has itself, without asking the others. */
async function caughtUp(seat: ClusterSeat, revision: bigint): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const own = await within(seat.clientUrl, CALL_MS, (client) =>
      client.unary(KV.range, { key: Buffer.from('key/'), serializable: true }),
    ).catch(() => undefined);
    if ((own?.header?.revision ?? 0n) >= revision) return;
    if (performance.now() > deadline) throw new TortureFailure(`${seat.name} stays behind:\n${seat.member.log}`);
    await sleep(POLL_MS);
  }
}

function memoryOf({ member }: ClusterSeat, field: 'VmRSS' | 'VmHWM'): number | undefined {
  try {
    const found = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${member.pid}/status`, 'latin1'));
    return found === null ? undefined : Math.round(Number(found[1]) / 1024);
  } catch {
    return undefined; // no Linux
  }
}

function forgetPeak({ member }: ClusterSeat): void {
  try {
    writeFileSync(`/proc/${member.pid}/clear_refs`, '5');
  } catch {
    // No Linux.
  }
}
