/**
 * What is counted of the traffic with other members, each by its id in hexadecimal.
 *
 * @module
 */
import { doubling, LabelledCounts, LabelledDurations } from './tallies.ts';

/** From 0.1 ms to 3.3 s. */
const ROUND_TRIP_BOUNDS = doubling(0.0001, 16);
/** From 0.1 s to 51 s. */
const IMAGE_BOUNDS = doubling(0.1, 10);

/** What the transport between members is to tell as it happens. Durations are in ms; `id` is the other member's. */
export class PeerTallies {
  readonly sentBytes = new LabelledCounts();
  readonly receivedBytes = new LabelledCounts();
  readonly sendFailures = new LabelledCounts();
  readonly roundTrips = new LabelledDurations(ROUND_TRIP_BOUNDS);
  readonly connections = new LabelledCounts();
  readonly disconnections = new LabelledCounts();
  readonly imagesSent = new LabelledDurations(IMAGE_BOUNDS);
  readonly imagesNotSent = new LabelledCounts();
  readonly imagesReceived = new LabelledDurations(IMAGE_BOUNDS);
  readonly imagesNotReceived = new LabelledCounts();

  sent(id: bigint, bytes: number): void {
    this.sentBytes.add(hex(id), bytes);
  }

  received(id: bigint, bytes: number): void {
    this.receivedBytes.add(hex(id), bytes);
  }

  sendFailed(id: bigint): void {
    this.sendFailures.add(hex(id));
  }

  roundTrip(id: bigint, ms: number): void {
    this.roundTrips.of(hex(id)).observe(ms / 1_000);
  }

  /** A member has become connected, or is no longer. */
  connected(id: bigint, yes: boolean): void {
    this.connections.add(hex(id), yes ? 1 : -1);
    if (!yes) this.disconnections.add(hex(id));
  }

  snapshotSent(id: bigint, ok: boolean, ms: number): void {
    if (ok) this.imagesSent.of(hex(id)).observe(ms / 1_000);
    else this.imagesNotSent.add(hex(id));
  }

  snapshotReceived(id: bigint, ok: boolean, ms: number): void {
    if (ok) this.imagesReceived.of(hex(id)).observe(ms / 1_000);
    else this.imagesNotReceived.add(hex(id));
  }
}

function hex(id: bigint): string {
  return id.toString(16);
}
