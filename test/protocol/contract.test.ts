/** The parts of etcd's contract that most would break if a .proto file were edited carelessly, written out by hand. */
import { describe, expect, it } from 'vitest';
import * as authpb from '../../src/protocol/generated/authpb.ts';
import * as pb from '../../src/protocol/generated/etcdserverpb.ts';
import * as health from '../../src/protocol/generated/grpc_health_v1.ts';
import { EventType } from '../../src/protocol/generated/mvccpb.ts';
import { Election } from '../../src/protocol/generated/v3electionpb.ts';
import { Lock } from '../../src/protocol/generated/v3lockpb.ts';
import type { ServiceDescriptor } from '../../src/protocol/wire.ts';
import { root } from './reflection.ts';

/** Fields as `name=number:type`, in the order of their numbers. */
function fields(type: string): string {
  return root
    .lookupType(type)
    .fieldsArray.toSorted((a, b) => a.id - b.id)
    .map((field) => `${field.name}=${field.id}:${field.repeated ? '*' : ''}${field.type.replace(/^.*\./, '')}`)
    .join(' ');
}

const FIELDS: Readonly<Record<string, string>> = {
  'mvccpb.KeyValue':
    'key=1:bytes createRevision=2:int64 modRevision=3:int64 version=4:int64 value=5:bytes lease=6:int64',
  'mvccpb.Event': 'type=1:EventType kv=2:KeyValue prevKv=3:KeyValue',
  'authpb.Permission': 'permType=1:Type key=2:bytes rangeEnd=3:bytes',
  'etcdserverpb.ResponseHeader': 'clusterId=1:uint64 memberId=2:uint64 revision=3:int64 raftTerm=4:uint64',
  'etcdserverpb.RangeRequest':
    'key=1:bytes rangeEnd=2:bytes limit=3:int64 revision=4:int64 sortOrder=5:SortOrder sortTarget=6:SortTarget ' +
    'serializable=7:bool keysOnly=8:bool countOnly=9:bool minModRevision=10:int64 maxModRevision=11:int64 ' +
    'minCreateRevision=12:int64 maxCreateRevision=13:int64',
  'etcdserverpb.RangeResponse': 'header=1:ResponseHeader kvs=2:*KeyValue more=3:bool count=4:int64',
  'etcdserverpb.RangeStreamResponse': 'rangeResponse=1:RangeResponse',
  'etcdserverpb.PutRequest':
    'key=1:bytes value=2:bytes lease=3:int64 prevKv=4:bool ignoreValue=5:bool ignoreLease=6:bool',
  'etcdserverpb.DeleteRangeRequest': 'key=1:bytes rangeEnd=2:bytes prevKv=3:bool',
  'etcdserverpb.DeleteRangeResponse': 'header=1:ResponseHeader deleted=2:int64 prevKvs=3:*KeyValue',
  'etcdserverpb.RequestOp':
    'requestRange=1:RangeRequest requestPut=2:PutRequest requestDeleteRange=3:DeleteRangeRequest requestTxn=4:TxnRequest',
  'etcdserverpb.ResponseOp':
    'responseRange=1:RangeResponse responsePut=2:PutResponse responseDeleteRange=3:DeleteRangeResponse responseTxn=4:TxnResponse',
  'etcdserverpb.Compare':
    'result=1:CompareResult target=2:CompareTarget key=3:bytes version=4:int64 createRevision=5:int64 ' +
    'modRevision=6:int64 value=7:bytes lease=8:int64 rangeEnd=64:bytes',
  'etcdserverpb.TxnRequest': 'compare=1:*Compare success=2:*RequestOp failure=3:*RequestOp',
  'etcdserverpb.TxnResponse': 'header=1:ResponseHeader succeeded=2:bool responses=3:*ResponseOp',
  'etcdserverpb.CompactionRequest': 'revision=1:int64 physical=2:bool',
  'etcdserverpb.HashKVResponse': 'header=1:ResponseHeader hash=2:uint32 compactRevision=3:int64 hashRevision=4:int64',
  'etcdserverpb.SnapshotResponse': 'header=1:ResponseHeader remainingBytes=2:uint64 blob=3:bytes version=4:string',
  'etcdserverpb.WatchRequest':
    'createRequest=1:WatchCreateRequest cancelRequest=2:WatchCancelRequest progressRequest=3:WatchProgressRequest',
  'etcdserverpb.WatchCreateRequest':
    'key=1:bytes rangeEnd=2:bytes startRevision=3:int64 progressNotify=4:bool filters=5:*FilterType prevKv=6:bool ' +
    'watchId=7:int64 fragment=8:bool',
  'etcdserverpb.WatchResponse':
    'header=1:ResponseHeader watchId=2:int64 created=3:bool canceled=4:bool compactRevision=5:int64 ' +
    'cancelReason=6:string fragment=7:bool events=11:*Event',
  'etcdserverpb.LeaseGrantRequest': 'TTL=1:int64 ID=2:int64',
  'etcdserverpb.LeaseGrantResponse': 'header=1:ResponseHeader ID=2:int64 TTL=3:int64 error=4:string',
  'etcdserverpb.LeaseKeepAliveResponse': 'header=1:ResponseHeader ID=2:int64 TTL=3:int64',
  'etcdserverpb.LeaseTimeToLiveResponse':
    'header=1:ResponseHeader ID=2:int64 TTL=3:int64 grantedTTL=4:int64 keys=5:*bytes',
  'etcdserverpb.LeaseCheckpoint': 'ID=1:int64 remainingTTL=2:int64',
  'etcdserverpb.Member': 'ID=1:uint64 name=2:string peerURLs=3:*string clientURLs=4:*string isLearner=5:bool',
  'etcdserverpb.MemberListRequest': 'linearizable=1:bool',
  'etcdserverpb.AlarmRequest': 'action=1:AlarmAction memberID=2:uint64 alarm=3:AlarmType',
  'etcdserverpb.StatusResponse':
    'header=1:ResponseHeader version=2:string dbSize=3:int64 leader=4:uint64 raftIndex=5:uint64 raftTerm=6:uint64 ' +
    'raftAppliedIndex=7:uint64 errors=8:*string dbSizeInUse=9:int64 isLearner=10:bool storageVersion=11:string ' +
    'dbSizeQuota=12:int64 downgradeInfo=13:DowngradeInfo',
  'etcdserverpb.AuthUserAddRequest': 'name=1:string password=2:string options=3:UserAddOptions hashedPassword=4:string',
  'etcdserverpb.AuthUserChangePasswordRequest': 'name=1:string password=2:string hashedPassword=3:string',
  'etcdserverpb.AuthStatusResponse': 'header=1:ResponseHeader enabled=2:bool authRevision=3:uint64',
  'etcdserverpb.AuthRoleGetResponse': 'header=1:ResponseHeader perm=2:*Permission',
  'v3lockpb.LockRequest': 'name=1:bytes lease=2:int64',
  'v3lockpb.LockResponse': 'header=1:ResponseHeader key=2:bytes',
  'v3electionpb.CampaignRequest': 'name=1:bytes lease=2:int64 value=3:bytes',
  'v3electionpb.LeaderKey': 'name=1:bytes key=2:bytes rev=3:int64 lease=4:int64',
};

const UNARY: Readonly<Record<string, string>> = {
  KV: 'Range Put DeleteRange Txn Compact',
  Lease: 'LeaseGrant LeaseRevoke LeaseTimeToLive LeaseLeases',
  Cluster: 'MemberAdd MemberRemove MemberUpdate MemberList MemberPromote',
  Maintenance: 'Alarm Status Defragment Hash HashKV MoveLeader Downgrade',
  Auth:
    'AuthEnable AuthDisable AuthStatus Authenticate UserAdd UserGet UserList UserDelete UserChangePassword ' +
    'UserGrantRole UserRevokeRole RoleAdd RoleGet RoleList RoleDelete RoleGrantPermission RoleRevokePermission',
};

function methods(service: ServiceDescriptor): string[] {
  return Object.values(service).map(({ kind, path }) => `${kind} ${path}`);
}

describe('contract', () => {
  it.each(Object.entries(FIELDS))('fields of %s', (type, expected) => {
    expect(fields(type)).toBe(expected);
  });

  it.each(Object.entries(UNARY))('unary methods of %s', (service, names) => {
    const descriptor = pb[service as 'KV' | 'Lease'] as ServiceDescriptor;
    expect(methods(descriptor).filter((method) => method.startsWith('unary '))).toEqual(
      names.split(' ').map((name) => `unary /etcdserverpb.${service}/${name}`),
    );
  });

  it('streams', () => {
    const all = [pb.KV, pb.Watch, pb.Lease, pb.Cluster, pb.Maintenance, pb.Auth, Lock, Election, health.Health];
    expect(all.flatMap(methods).filter((method) => !method.startsWith('unary '))).toEqual([
      'server-stream /etcdserverpb.KV/RangeStream',
      'bidi /etcdserverpb.Watch/Watch',
      'bidi /etcdserverpb.Lease/LeaseKeepAlive',
      'server-stream /etcdserverpb.Maintenance/Snapshot',
      'server-stream /v3electionpb.Election/Observe',
      'server-stream /grpc.health.v1.Health/Watch',
    ]);
  });

  it('methods of the services beside etcd', () => {
    expect(methods(Lock)).toEqual(['unary /v3lockpb.Lock/Lock', 'unary /v3lockpb.Lock/Unlock']);
    expect(Election.campaign.path).toBe('/v3electionpb.Election/Campaign');
    expect(health.Health.check.path).toBe('/grpc.health.v1.Health/Check');
  });

  it('messages whose names do not follow from the method', () => {
    expect(pb.KV.rangeStream.request).toBe(pb.RangeRequest);
    expect(pb.KV.rangeStream.response).toBe(pb.RangeStreamResponse);
    expect(pb.KV.compact.request).toBe(pb.CompactionRequest);
    expect(pb.Auth.userAdd.request).toBe(pb.AuthUserAddRequest);
    expect(Election.observe.request.typeName).toBe('v3electionpb.LeaderRequest');
  });

  it('enums', () => {
    expect(pb.RangeRequestSortOrder).toEqual({ NONE: 0, ASCEND: 1, DESCEND: 2 });
    expect(pb.RangeRequestSortTarget).toEqual({ KEY: 0, VERSION: 1, CREATE: 2, MOD: 3, VALUE: 4 });
    expect(pb.CompareResult).toEqual({ EQUAL: 0, GREATER: 1, LESS: 2, NOT_EQUAL: 3 });
    expect(pb.CompareTarget).toEqual({ VERSION: 0, CREATE: 1, MOD: 2, VALUE: 3, LEASE: 4 });
    expect(pb.WatchCreateRequestFilterType).toEqual({ NOPUT: 0, NODELETE: 1 });
    expect(pb.AlarmType).toEqual({ NONE: 0, NOSPACE: 1, CORRUPT: 2 });
    expect(pb.AlarmRequestAlarmAction).toEqual({ GET: 0, ACTIVATE: 1, DEACTIVATE: 2 });
    expect(pb.DowngradeRequestDowngradeAction).toEqual({ VALIDATE: 0, ENABLE: 1, CANCEL: 2 });
    expect(authpb.PermissionType).toEqual({ READ: 0, WRITE: 1, READWRITE: 2 });
    expect(EventType).toEqual({ PUT: 0, DELETE: 1 });
    expect(health.HealthCheckResponseServingStatus).toEqual({
      UNKNOWN: 0,
      SERVING: 1,
      NOT_SERVING: 2,
      SERVICE_UNKNOWN: 3,
    });
  });
});
