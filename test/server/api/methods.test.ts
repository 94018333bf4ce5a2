import { describe, expect, it } from 'vitest';
import { Auth, Cluster, KV, Lease, Maintenance, Watch } from '../../../src/protocol/generated/etcdserverpb.ts';
import { Health } from '../../../src/protocol/generated/grpc_health_v1.ts';
import { Election } from '../../../src/protocol/generated/v3electionpb.ts';
import { Lock } from '../../../src/protocol/generated/v3lockpb.ts';
import type { MethodDescriptor } from '../../../src/protocol/wire.ts';
import { createMethods } from '../../../src/server/api/methods.ts';
import { RULES } from '../../../src/server/auth/rules.ts';
import { apiOptions, MachineMember } from './machine-member.ts';

const SERVICES = [KV, Watch, Lease, Cluster, Maintenance, Auth, Lock, Election, Health];

describe('createMethods', () => {
  const methods = createMethods(new MachineMember(), { ...apiOptions(), electionTimeoutMs: 1_000 });

  it('has each method of the protocol once, of its kind', () => {
    // biome-ignore lint/suspicious/noExplicitAny: the messages differ from method to method
    const descriptors = SERVICES.flatMap((service): MethodDescriptor<any, any>[] => Object.values(service));
    expect([...methods.keys()].sort()).toEqual(descriptors.map(({ path }) => path).sort());
    for (const descriptor of descriptors) {
      expect(methods.get(descriptor.path)).toMatchObject({ kind: descriptor.kind, descriptor });
    }
  });

  it('has a rule for each method, so that none is root’s by mistake', () => {
    expect([...RULES.keys()].sort()).toEqual([...methods.keys()].sort());
  });
});
