/**
 * What is told of leases: how much time they have left when they are renewed, how long a
 * renewal takes, and their loss. A keepalive never makes a span; the loss of a lease makes
 * one, in a trace of its own, linked to whatever was active when the lease was taken up.
 *
 * @module
 */

import { type SpanContext, SpanKind } from '@opentelemetry/api';
import { activeSpanContext, isRecording, linkTo, markFailed, tracer } from './api.ts';
import type { CallTelemetry } from './calls.ts';
import { DB_SYSTEM, ETCD, OTEL } from './semconv.ts';

/** Ends of a lease that its own program wanted. */
const WANTED: ReadonlySet<string> = new Set(['revoked', 'closed']);

/** The telemetry of one lease that is held. */
export class LeaseTrace {
  readonly #telemetry: CallTelemetry;
  readonly #takenUpBy: SpanContext | undefined;

  constructor(telemetry: CallTelemetry) {
    this.#telemetry = telemetry;
    this.#takenUpBy = telemetry.settings.enabled ? activeSpanContext() : undefined;
    telemetry.instruments?.leaseActive.add(1);
  }

  /** A renewal was answered: with so much left of the lease's time, after so long. */
  renewed(remainingMs: number, tookMs: number): void {
    const meters = this.#telemetry.instruments;
    if (meters === undefined) return;
    meters.leaseRemaining.record(Math.max(0, remainingMs) / 1000);
    meters.leaseRenewal.record(Math.max(0, tookMs) / 1000);
  }

  /** It is held no more. `reason` is a `LeaseLossReason`. */
  lost(id: bigint, reason: string): void {
    const meters = this.#telemetry.instruments;
    meters?.leaseActive.add(-1);
    meters?.leaseLost.add(1, { [ETCD.reason]: reason });
    if (WANTED.has(reason) || !this.#telemetry.settings.enabled) return;
    const links = this.#takenUpBy === undefined ? [] : [linkTo(this.#takenUpBy)];
    const span = tracer.startSpan('lease lost', { kind: SpanKind.INTERNAL, root: true, links });
    if (isRecording(span)) {
      const leaseId = BigInt.asUintN(64, id).toString(16);
      span.setAttributes({ [OTEL.dbSystem]: DB_SYSTEM, [ETCD.leaseId]: leaseId, [ETCD.reason]: reason });
      markFailed(span, 'lease-lost');
    }
    span.end();
  }
}
