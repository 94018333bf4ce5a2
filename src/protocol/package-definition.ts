/**
 * The whole contract as a package definition of `@grpc/proto-loader`: the way out for whoever wants raw grpc-js stubs,
 * or a fake server in a test.
 *
 * The client does not use it: it is several times slower than the generated codecs, and loads protobufjs.
 *
 * @module
 */
import { fromJSON, type PackageDefinition } from '@grpc/proto-loader';
import { descriptor } from './generated/descriptor.ts';

let definition: PackageDefinition | undefined;

/**
 * All of etcd's services (KV, Watch, Lease, Cluster, Maintenance, Auth, Lock, Election) and gRPC's Health, ready for
 * grpc-js's `loadPackageDefinition` or `Server.addService`.
 *
 * In its messages int64 and uint64 are `bigint`, bytes are `Buffer`, enums are the names of their values (numbers are
 * taken too), fields are in lower camel case (`prevKv`, but `ID` and `TTL`), absent fields hold their defaults, and
 * each oneof names the member that is set (`requestUnion: 'createRequest'`). Made once, at the first call.
 *
 * @throws Error when the protobufjs found is too old to carry 64-bit numbers as `bigint` (it takes 7.6).
 *
 * @example
 * ```ts
 * const etcd = loadPackageDefinition(etcdPackageDefinition());
 * const kv = new etcd.etcdserverpb.KV('127.0.0.1:2379', credentials.createInsecure());
 * kv.Range({ key: Buffer.from('greeting') }, (error, { kvs }) => {});
 * ```
 */
export function etcdPackageDefinition(): PackageDefinition {
  definition ??= load();
  return definition;
}

function load(): PackageDefinition {
  const loaded = fromJSON(descriptor, { longs: BigInt, enums: String, defaults: true, oneofs: true });
  const compact = loaded['etcdserverpb.KV'] as unknown as Record<
    'Compact',
    { requestDeserialize(bytes: Buffer): { revision: unknown } }
  >;
  // revision: 2^53 + 1, which a number can't hold.
  const { revision } = compact.Compact.requestDeserialize(Buffer.from('0881808080808080' + '10', 'hex'));
  if (revision !== 2n ** 53n + 1n) {
    throw new Error(
      `64-bit numbers come out as ${typeof revision} ${String(revision)}: etcdkit needs protobufjs 7.6 or newer`,
    );
  }
  return loaded;
}
