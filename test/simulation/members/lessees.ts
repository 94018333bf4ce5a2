/**
 * Clients that keep leases: each gets one, hangs keys on it, renews it for a while, and ends it or lets it run out.
 */
import { Lease, LeaseGrantRequest, LeaseRevokeRequest } from '../../../src/protocol/generated/etcdserverpb.ts';
import { Refusals } from '../../../src/server/refusals.ts';
import type { LeaseCall, LeaseHistory, LeaseKeepalive } from '../../checkers/lease-checker.ts';
import { revisionOf } from '../../checkers/wire.ts';
import type { Random } from '../world/random.ts';
import type { Calls } from './calls.ts';
import type { Clients } from './clients.ts';
import type { MembersCluster } from './cluster.ts';
import type { Machine } from './machine.ts';

const TIMEOUT_US = 2_000_000;

interface Kept {
  readonly id: bigint;
  readonly ttlSeconds: number;
  readonly grant: LeaseCall;
  readonly keepalives: LeaseKeepalive[];
  readonly revokes: LeaseCall[];
  readonly questions: never[];
}

export class Lessees {
  readonly histories: LeaseHistory[] = [];
  /** The longest TTL that was granted, in seconds. */
  longestSeconds = 0;
  readonly #cluster: MembersCluster;
  readonly #calls: Calls;
  readonly #clients: Clients;
  readonly #random: Random;
  #lastId = 0n;
  #running = true;

  constructor(cluster: MembersCluster, { calls, clients, random }: { calls: Calls; clients: Clients; random: Random }) {
    this.#cluster = cluster;
    this.#calls = calls;
    this.#clients = clients;
    this.#random = random;
  }

  run(): void {
    for (let lessee = 0; lessee < this.#cluster.options.lessees; lessee += 1) this.#next(`l${lessee}`);
  }

  /** Grants no more, and renews none. */
  stop(): void {
    this.#running = false;
  }

  get #nowMs(): number {
    return this.#cluster.scheduler.nowUs / 1000;
  }

  #next(lessee: string): void {
    this.#cluster.scheduler.after(this.#random.below(500_000), () => {
      if (this.#running) this.#grant(lessee);
    });
  }

  #grant(lessee: string): void {
    this.#lastId += 1n;
    const id = this.#lastId;
    const sentAtMs = this.#nowMs;
    const request = decodedGrant(id, BigInt(this.#random.pick([1, 2, 3, 5, 8])));
    this.#calls.unary(this.#machine(), Lease.leaseGrant, request, TIMEOUT_US, (end) => {
      if (end.type !== 'answer') return this.#next(lessee);
      const ttlSeconds = Number(end.value.TTL);
      this.longestSeconds = Math.max(this.longestSeconds, ttlSeconds);
      const grant = { sentAtMs, answeredAtMs: this.#nowMs };
      const kept: Kept = { id, ttlSeconds, grant, keepalives: [], revokes: [], questions: [] };
      this.histories.push(kept);
      this.#attach(lessee, kept, this.#random.between(1, 3));
    });
  }

  #attach(lessee: string, kept: Kept, keys: number): void {
    if (keys === 0) return this.#keep(lessee, kept, this.#random.between(0, 6));
    const key = this.#random.chance(0.2) ? 'k0' : `e${lessee}.${keys}`;
    const request = { kind: 'put', key, value: this.#clients.value(), lease: kept.id } as const;
    this.#clients.send(lessee, this.#machine(), request, () => this.#attach(lessee, kept, keys - 1));
  }

  #keep(lessee: string, kept: Kept, renewals: number): void {
    if (renewals === 0 || !this.#running) {
      if (this.#running && this.#random.chance(0.4)) this.#revoke(lessee, kept);
      else this.#next(lessee);
      return;
    }
    // Some come at the last moment, or later.
    const latestUs = kept.ttlSeconds * (this.#random.chance(0.3) ? 1_400_000 : 600_000);
    this.#cluster.scheduler.after(this.#random.below(latestUs), () => {
      const sentAtMs = this.#nowMs;
      const at = kept.keepalives.push({ sentAtMs }) - 1;
      this.#calls.keepAlive(this.#machine(), kept.id, TIMEOUT_US, (end) => {
        if (end.type === 'answer') {
          const ttlSeconds = Number(end.value.TTL);
          kept.keepalives[at] = { sentAtMs, answeredAtMs: this.#nowMs, ttlSeconds };
          if (ttlSeconds === 0) return this.#next(lessee);
        }
        this.#keep(lessee, kept, renewals - 1);
      });
    });
  }

  #revoke(lessee: string, kept: Kept): void {
    const sentAtMs = this.#nowMs;
    const at = kept.revokes.push({ sentAtMs }) - 1;
    const open = this.#clients.recorder.call(lessee, { kind: 'revoke', lease: kept.id });
    const request = LeaseRevokeRequest.decode(new Uint8Array(LeaseRevokeRequest.encode({ ID: kept.id })));
    this.#calls.unary(this.#machine(), Lease.leaseRevoke, request, TIMEOUT_US, (end) => {
      if (end.type === 'answer') {
        kept.revokes[at] = { sentAtMs, answeredAtMs: this.#nowMs };
        open.answered({ revision: revisionOf(end.value.header), result: { kind: 'revoke' } }, end.session);
      } else if (end.type === 'nobody' || (end.type === 'refused' && end.text === Refusals.LeaseNotFound.text)) {
        kept.revokes.splice(at, 1);
        open.failed();
      }
      this.#next(lessee);
    });
  }

  #machine(): Machine {
    const { awake, machines } = this.#cluster;
    return this.#random.pick(awake.length > 0 ? awake : machines);
  }
}

function decodedGrant(ID: bigint, TTL: bigint): LeaseGrantRequest {
  return LeaseGrantRequest.decode(new Uint8Array(LeaseGrantRequest.encode({ ID, TTL })));
}
