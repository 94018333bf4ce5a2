/** Leaves a stopped lease and an open keeper behind, with a minute on the lease's clock: nothing may hold the process. */
import { RealClient } from '../real-client.ts';

const client = new RealClient([process.argv[2] ?? '']);
const lease = await client.leases.open({ ttlSeconds: 60 });
lease.stop();
await using revoked = await client.leases.open({ ttlSeconds: 60 });
await revoked.revoke();
client.caller.pool.close();
