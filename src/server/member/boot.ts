/**
 * What a member starts from: nothing, or what its data directory has.
 *
 * A new member gets its id from its addresses, and founds its cluster with the others that were named; or it joins one
 * that is there, as the member as which it was added, and gets all that it is to know from the others. One that comes back
 * has the last image, and the log from the newest snapshot record that is not after the image. Entries up to the
 * image's index are in the log and are not applied again.
 *
 * Each moment at which the machine may die leaves something that can be started from:
 *
 * - A log without hard state: whoever wrote it promised nothing to anybody yet, so the member is new again.
 * - An image after the last snapshot record: the entries in between are there, since the log lets go of nothing before
 *   that record is durable. If they are not, the image came from another member and the log starts anew behind it.
 * - An image after what the log knows to be committed: only what is committed is in an image, so it is.
 *
 * @module
 */

import { ConfState as ConfStateCodec } from '../../protocol/generated/raftpb.ts';
import type { ClusterId, MemberId } from '../../protocol/int64.ts';
import { EMPTY } from '../../protocol/wire.ts';
import {
  type ConfState,
  EMPTY_HARD_STATE,
  type HardState,
  isEmptyHardState,
  MemoryStorage,
  type Peer,
} from '../raft/index.ts';
import type { BackendMember, BackendState } from '../snapshot/backend-state.ts';
import { encodeMember } from '../snapshot/go-json.ts';
import type { Disk } from '../storage/disk.ts';
import { parentOf } from '../storage/paths.ts';
import {
  FROM_START,
  readSnapshots,
  refuseInUse,
  Wal,
  type WalContents,
  WalError,
  type WalRepair,
  type WalSnapshot,
} from '../wal/index.ts';
import {
  DataDirError,
  type DataDirPaths,
  dataDirPaths,
  type OpenImage,
  openImage,
  removeLeftovers,
} from './data-dir.ts';
import { clusterIdOf, memberIdOf } from './ids.ts';
import { type Journal, noJournal } from './journal.ts';
import { standAlone } from './stand-alone.ts';

/** Where a member keeps what it must not lose. */
export interface MemberStorage {
  readonly disk: Disk;
  /** Path on that disk. */
  readonly dataDir: string;
  /** Directory of the log, if it is to be another than in `dataDir`. */
  readonly walDir?: string | undefined;
  /** Length at which a file of the log is closed, in bytes. Default: etcd's 64,000,000. */
  readonly segmentBytes?: number | undefined;
}

/** A member of a cluster that is being founded. */
export interface InitialMember {
  readonly name: string;
  readonly peerUrls: readonly string[];
}

/** A cluster that is there already, as one of its members says. */
export interface ExistingCluster {
  readonly clusterId: bigint;
  /** Among them this one: added, and never started. */
  readonly members: readonly BackendMember[];
}

export interface BootOptions {
  /** Name of this member: one of `initialCluster`. */
  readonly name: string;
  readonly initialCluster: readonly InitialMember[];
  readonly clusterToken: string;
  /** What a new member joins; undefined: it founds its cluster. */
  readonly join?: ExistingCluster | undefined;
  /** Whether it was to join one when it was new: then it founds nothing, even if it died before it heard of the others. */
  readonly joins?: boolean | undefined;
  /** Undefined: nothing is kept. */
  readonly storage: MemberStorage | undefined;
  /** Whether a member that comes back is to go on alone: see `stand-alone.ts`. Default: false. */
  readonly forceNewCluster?: boolean | undefined;
}

/** What a member starts from. */
export interface Booted {
  readonly id: MemberId;
  readonly clusterId: ClusterId;
  readonly journal: Journal;
  /** The log, for the core. */
  readonly log: MemoryStorage;
  /** Index of the image; 0 without one. */
  readonly applied: number;
  /** To be read from and closed by the caller. */
  readonly image: OpenImage | undefined;
  /** Who founds the cluster; undefined if that was done. */
  readonly founders: readonly Peer[] | undefined;
  /** Who was in the cluster that it joins; undefined if its log knows. */
  readonly told?: readonly BackendMember[] | undefined;
  readonly paths: DataDirPaths | undefined;
  /** What a crash had torn of the log. */
  readonly repaired?: WalRepair | undefined;
  /** Members that the log has just been made to remove. */
  readonly abandoned?: readonly bigint[] | undefined;
}

/** Does what the head of this file says. @throws DataDirError, WalError; nothing was changed then. */
export async function boot(options: BootOptions): Promise<Booted> {
  const { storage } = options;
  if (storage === undefined) return { ...fresh(options), journal: noJournal, paths: undefined };
  const paths = dataDirPaths(storage.dataDir, storage.walDir);
  const log = (await storage.disk.list(paths.wal)) ?? [];
  // Both image and log change under the hands of whoever looks while they are in use.
  if (log.length > 0) await refuseInUse(storage.disk, paths.wal);
  const image = await openImage(storage.disk, paths);
  try {
    if (log.length > 0) return await alone(options, { ...(await resumed(options, storage, paths, image)), paths });
    if (image) throw new DataDirError(paths.wal, 'there is an image and no log');
    return await begun(options, storage, paths);
  } catch (error) {
    await image?.close();
    throw error;
  }
}

/** The others are taken out of the log of a member that is to go on without them. */
async function alone({ forceNewCluster = false }: BootOptions, booted: Booted): Promise<Booted> {
  if (!forceNewCluster || booted.founders) return booted;
  try {
    return { ...booted, abandoned: await standAlone(booted) };
  } catch (cause) {
    await booted.journal.close();
    if (!(cause instanceof RangeError)) throw cause;
    throw new DataDirError(booted.paths?.wal ?? '', cause.message, { cause });
  }
}

async function begun(
  options: BootOptions,
  { disk, dataDir, segmentBytes }: MemberStorage,
  paths: DataDirPaths,
): Promise<Booted> {
  const start = fresh(options);
  await disk.makeDirectory(parentOf(paths.snap));
  await disk.makeDirectory(parentOf(paths.wal));
  // The names above the log are as new as it may be; it makes its own durable itself.
  await disk.syncDirectory(dataDir);
  await disk.syncDirectory(parentOf(dataDir));
  const owner = { memberId: start.id, clusterId: start.clusterId };
  return { ...start, journal: await Wal.create(disk, paths.wal, owner, { segmentBytes }), paths };
}

type WithoutJournal = Omit<Booted, 'journal' | 'paths'>;

function fresh(options: BootOptions): WithoutJournal {
  return options.join ? joined(options, options.join) : founded(options);
}

/** What was added, and never started, is found by its addresses: it has no name yet. */
function joined({ name, initialCluster }: BootOptions, { clusterId, members }: ExistingCluster): WithoutJournal {
  const peerUrls = initialCluster.find((member) => member.name === name)?.peerUrls ?? [];
  const sorted = (urls: readonly string[]): string => [...urls].sort().join();
  const own = members.find((member) => sorted(member.peerUrls) === sorted(peerUrls));
  if (own === undefined) throw new RangeError(`the cluster has no member with the addresses of ${name}`);
  return {
    id: own.id as MemberId,
    clusterId: clusterId as ClusterId,
    log: new MemoryStorage(),
    applied: 0,
    image: undefined,
    founders: undefined,
    told: members,
  };
}

function founded({ name, initialCluster, clusterToken }: BootOptions): WithoutJournal {
  const members = initialCluster.map((member): BackendMember => {
    const id = memberIdOf(member.peerUrls, clusterToken);
    return { id, name: member.name, peerUrls: [...member.peerUrls].sort(), clientUrls: [], isLearner: false };
  });
  members.sort((a, b) => (a.id < b.id ? -1 : 1));
  const own = members.find((member) => member.name === name);
  if (own === undefined) throw new RangeError(`the initial cluster has no member of the name ${name}`);
  return {
    id: own.id as MemberId,
    clusterId: clusterIdOf(members.map(({ id }) => id)),
    log: new MemoryStorage(),
    applied: 0,
    image: undefined,
    founders: members.map((member) => ({ id: member.id as MemberId, context: Buffer.from(encodeMember(member)) })),
  };
}

async function resumed(
  options: BootOptions,
  { disk, segmentBytes }: MemberStorage,
  paths: DataDirPaths,
  image: OpenImage | undefined,
): Promise<Omit<Booted, 'paths'>> {
  const applied = image ? Number(image.state.consistentIndex) : 0;
  const from = image ? await newestRecord(disk, paths, applied) : FROM_START;
  const { wal, contents, repaired } = await Wal.open(disk, paths.wal, { from, segmentBytes });
  try {
    const { memberId: id, clusterId } = contents.metadata;
    await removeLeftovers(disk, paths);
    if (image) refuseStranger(image.state, id, paths);
    if (isEmptyHardState(contents.hardState) && image === undefined) {
      // Who the others are it learns from them: they were told of it.
      const known = { log: new MemoryStorage(), applied, image, founders: undefined };
      if (options.joins && !options.join) return { id, clusterId, ...known, journal: wal, repaired };
      const start = fresh(options);
      if (start.id !== id || start.clusterId !== clusterId) {
        throw new DataDirError(paths.wal, 'it was begun by a member of another cluster, or with other addresses');
      }
      return { ...start, journal: wal, repaired };
    }
    const start = { id, clusterId, journal: wal, applied, image, founders: undefined, repaired };
    if (image === undefined) return { ...start, log: fill(from, contents, undefined, 0), told: options.join?.members };
    const confState = confStateOf(image.state);
    const here = applied === from.index ? from : contents.entries[applied - from.index - 1];
    const term = Number(image.state.term) || here?.term;
    if (term === undefined) throw new DataDirError(paths.image, 'neither it nor the log knows its term');
    if (here?.term === term) return { ...start, log: fill(from, contents, confState, applied) };
    return { ...start, log: await jump(wal, contents, confState, { index: applied, term }) };
  } catch (error) {
    await wal.close();
    throw error;
  }
}

/** An image and a log of two members would make one that nobody elects, with the keys of a stranger. */
function refuseStranger({ members, removedMembers }: BackendState, id: bigint, paths: DataDirPaths): void {
  for (const member of members) if (member.id === id) return;
  for (const removed of removedMembers)
    if (removed === id) throw new DataDirError(paths.image, 'its member was removed from the cluster');
  throw new DataDirError(paths.image, 'it is not of the member whose log is beside it');
}

/** The newest snapshot record that the image is not before. */
async function newestRecord(disk: Disk, paths: DataDirPaths, index: number): Promise<WalSnapshot> {
  const records = await readSnapshots(disk, paths.wal);
  const record = records.findLast((one) => one.index <= index);
  if (record) return record;
  throw new WalError('no-snapshot', `no snapshot record up to the image's index ${index}, in ${paths.wal}`);
}

/** The log as the core is to see it. */
function fill(
  from: { readonly index: number; readonly term: number },
  { entries, hardState }: WalContents,
  confState: ConfState | undefined,
  applied: number,
): MemoryStorage {
  const log = new MemoryStorage();
  if (from.index > 0 && confState) log.applySnapshot({ ...from, data: EMPTY, confState });
  // An image that came from the leader has replaced all that was there. What this log still has behind it, of an
  // earlier term, is not part of it: with that the member could take one for up to date that lacks what is committed.
  const [first] = entries;
  if (first === undefined || first.term >= from.term) log.append(entries);
  if (confState && applied > from.index) log.createSnapshot(applied, confState, EMPTY);
  log.setHardState({ ...hardState, commit: Math.max(hardState.commit, applied) });
  return log;
}

/** The image is ahead of the log, or at odds with it: it is of what is committed, so the log has to give way. */
async function jump(
  wal: Wal,
  contents: WalContents,
  confState: ConfState,
  at: { readonly index: number; readonly term: number },
): Promise<MemoryStorage> {
  const { hardState } = contents;
  const term = Math.max(hardState.term, at.term);
  const vote = term === hardState.term ? hardState.vote : EMPTY_HARD_STATE.vote;
  const state: HardState = { term, vote, commit: at.index };
  await wal.append({ snapshot: { ...at, confState: encodeConfState(confState) }, hardState: state });
  const log = new MemoryStorage();
  log.applySnapshot({ ...at, data: EMPTY, confState });
  log.setHardState(state);
  return log;
}

/** A configuration as a snapshot record has it. */
export function encodeConfState(confState: ConfState): Uint8Array {
  return ConfStateCodec.encode({
    voters: [...confState.voters],
    learners: [...confState.learners],
    votersOutgoing: [...confState.votersOutgoing],
    learnersNext: [...confState.learnersNext],
    autoLeave: confState.autoLeave,
  });
}

/** Who votes as of an image. One of etcd 3.4 does not say it but by its members. */
function confStateOf({ confState, members }: BackendState): ConfState {
  const all = [...members];
  const ids = (learners: boolean): bigint[] => all.filter((one) => one.isLearner === learners).map(({ id }) => id);
  const { voters, learners, votersOutgoing, learnersNext, autoLeave } = confState ?? {
    voters: ids(false),
    learners: ids(true),
    votersOutgoing: [],
    learnersNext: [],
    autoLeave: false,
  };
  const typed = (list: readonly bigint[]): readonly MemberId[] => list as readonly MemberId[];
  return {
    voters: typed(voters),
    learners: typed(learners),
    votersOutgoing: typed(votersOutgoing),
    learnersNext: typed(learnersNext),
    autoLeave,
  };
}
