import { describe, expect, it } from 'vitest';
import type { MemberId } from '../../../src/protocol/int64.ts';
import { type RaftConfig, resolveConfig } from '../../../src/server/raft/config.ts';
import { RaftInvariantError } from '../../../src/server/raft/errors.ts';
import { NO_LIMIT } from '../../../src/server/raft/size.ts';
import { APPEND_THREAD, APPLY_THREAD } from '../../../src/server/raft/types.ts';
import { id, newConfig, newStorage } from './support.ts';

const config = (fields: Partial<RaftConfig> = {}): RaftConfig => ({ ...newConfig(1, {}, newStorage({})), ...fields });

describe('resolveConfig', () => {
  it('fills in what is left out', () => {
    expect(resolveConfig(config())).toMatchObject({
      applied: 0,
      asyncStorageWrites: false,
      maxSizePerMessage: NO_LIMIT,
      maxCommittedSizePerReady: NO_LIMIT,
      maxUncommittedSize: NO_LIMIT,
      maxInflightMessages: 256,
      maxInflightBytes: NO_LIMIT,
      checkQuorum: false,
      preVote: false,
      reads: 'safe',
      disableProposalForwarding: false,
      disableConfChangeValidation: false,
      stepDownOnRemoval: false,
      observe: undefined,
    });
  });

  it('takes undefined for left out, and keeps what is given', () => {
    expect(resolveConfig(config({ maxInflightMessages: undefined, preVote: undefined }))).toMatchObject({
      maxInflightMessages: 256,
      preVote: false,
    });
    const given = {
      checkQuorum: true,
      reads: 'lease',
      maxSizePerMessage: 0,
      maxUncommittedSize: 1,
      applied: 7,
    } as const;
    expect(resolveConfig(config(given))).toMatchObject(given);
  });

  it.each<[Partial<RaftConfig>, names: RegExp]>([
    [{ id: id(0) }, /id 0/],
    [{ id: APPEND_THREAD }, /id 18446744073709551615/],
    [{ id: APPLY_THREAD }, /id 18446744073709551614/],
    [{ id: -1n as MemberId }, /id -1/],
    [{ id: (2n ** 64n) as MemberId }, /id 18446744073709551616/],
    [{ heartbeatTicks: 0 }, /heartbeatTicks/],
    [{ heartbeatTicks: 1.5 }, /heartbeatTicks/],
    [{ electionTicks: 1 }, /electionTicks/],
    [{ electionTicks: Number.NaN }, /electionTicks/],
    [{ electionTicks: 5, heartbeatTicks: 5 }, /electionTicks/],
    [{ applied: -1 }, /applied/],
    [{ applied: Number.NaN }, /applied/],
    [{ maxSizePerMessage: -1 }, /maxSizePerMessage/],
    [{ maxSizePerMessage: Number.NaN }, /maxSizePerMessage/],
    [{ maxInflightMessages: 0 }, /maxInflightMessages/],
    // A window is counted until it is full.
    [{ maxInflightMessages: 2.5 }, /maxInflightMessages/],
    [{ maxInflightBytes: 99, maxSizePerMessage: 100 }, /maxInflightBytes/],
    [{ maxInflightBytes: 99 }, /maxInflightBytes/],
    [{ maxInflightBytes: 0, maxSizePerMessage: 0 }, /maxInflightBytes/],
    [{ maxInflightBytes: Number.NaN }, /maxInflightBytes/],
    [{ maxCommittedSizePerReady: 0 }, /maxCommittedSizePerReady/],
    [{ maxUncommittedSize: 0 }, /maxUncommittedSize/],
    [{ reads: 'lease' }, /reads.*checkQuorum/],
  ])('refuses what can not be, by name: row %#', (fields, names) => {
    expect(() => resolveConfig(config(fields))).toThrow(RaftInvariantError);
    expect(() => resolveConfig(config(fields))).toThrow(names);
  });

  it('takes what is just within its bounds', () => {
    for (const fields of [
      { id: (2n ** 64n - 3n) as MemberId },
      { heartbeatTicks: 1, electionTicks: 2 },
      { maxInflightMessages: 1 },
      { maxInflightMessages: NO_LIMIT },
      { maxInflightBytes: 100, maxSizePerMessage: 100 },
      { reads: 'lease', checkQuorum: true },
    ] as const) {
      expect(() => resolveConfig(config(fields))).not.toThrow();
    }
  });
});
