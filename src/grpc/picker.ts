/**
 * Chooses the connection for each call: the service's own `pick()`, among the instances that are connected.
 *
 * A picker belongs to one state of the policy's connections; with each change of one of them there is a new picker. The
 * service's list changes by itself and may be ahead of the connections: what has left the list takes no call from that
 * moment on, and what has just come makes calls wait until it is connected, when nobody else is.
 *
 * What was picked is told how the call ended. grpc-js drops a pick without a word when the call ends before it is sent
 * (cancelled while its credentials are made), so the report is tied to the life of the callback that it would have
 * called: when that is collected as garbage, the pick counts as cancelled.
 *
 * @module
 */

import type { Outcome } from '../../recipes/services/balance/balancer.ts';
import type { DiscoveredService, Picked } from '../../recipes/services/discovered.ts';
import { NoInstanceError } from '../../recipes/services/errors.ts';
import type { ServiceInstance } from '../../recipes/services/instance.ts';
import { GrpcCode } from '../index.ts';
import type { Grpc, PickArgs, Picker, PickResult } from './grpc-js.ts';

/** What the resolver hands to the policy. */
export interface PolicyInput {
  readonly service: DiscoveredService<unknown>;
  /** The ids of the instances that were in the list when the policy was told of it. */
  readonly told: ReadonlySet<string>;
  /** The name of the metadata entry that calls are hashed by; undefined when they are not. */
  readonly hashMetadata: string | undefined;
  readonly outcomeOf: (code: number) => Outcome;
}

/** The connections as they are now. */
export interface Connections {
  /** Those that are ready, by instance id. */
  readonly ready: ReadonlyMap<string, Picker>;
  /** The ids of the instances that are being connected to. */
  readonly connecting: ReadonlySet<string>;
  /** Why the last one failed. */
  readonly lastError: string | null;
}

const abandoned = new FinalizationRegistry<Picked<unknown>>((picked) => picked[Symbol.dispose]());

export class ServicePicker implements Picker {
  readonly #grpc: Grpc;
  readonly #input: PolicyInput;
  readonly #connections: Connections;
  /** The list that the two below were made from. */
  #instances: readonly ServiceInstance<unknown>[] | undefined;
  /** Instances in the list that are not connected. */
  #avoid: ReadonlySet<string> = new Set();
  /** Instances in the list that are. */
  #usable: readonly ServiceInstance<unknown>[] = [];
  #turn = 0;

  constructor(grpc: Grpc, input: PolicyInput, connections: Connections) {
    this.#grpc = grpc;
    this.#input = input;
    this.#connections = connections;
  }

  pick(args: PickArgs): PickResult {
    this.#follow();
    if (this.#usable.length === 0) return this.#nobody();
    const { service, outcomeOf } = this.#input;
    let picked: Picked<unknown>;
    try {
      picked = service.pick({ avoid: this.#avoid, hashKey: this.#hashKey(args) });
    } catch (error) {
      if (error instanceof NoInstanceError && error.reason === 'all-busy') return this.#refused(error);
      return this.#unavailable(error instanceof Error ? error.message : String(error));
    }
    const child = this.#connections.ready.get(picked.instance.id);
    if (child === undefined) {
      // The strategy insisted on one that is not connected. Better a call that is not reported than one that fails.
      picked.done('cancelled');
      return this.#spare(args);
    }
    const result = child.pick(args);
    if (result.pickResultType !== this.#grpc.experimental.PickResultType.COMPLETE) {
      picked.done('cancelled');
      return result;
    }
    return reported(result, picked, outcomeOf);
  }

  /** Catches up with the list, which is the same array until something changes. */
  #follow(): void {
    const { instances } = this.#input.service;
    if (instances === this.#instances) return;
    this.#instances = instances;
    const { ready } = this.#connections;
    this.#usable = instances.filter(({ id }) => ready.has(id));
    this.#avoid = new Set(instances.filter(({ id }) => !ready.has(id)).map(({ id }) => id));
  }

  #hashKey({ metadata }: PickArgs): string | undefined {
    const { hashMetadata } = this.#input;
    return hashMetadata === undefined ? undefined : metadata.get(hashMetadata)[0]?.toString();
  }

  #spare(args: PickArgs): PickResult {
    const { service } = this.#input;
    const open = this.#usable.filter(({ id }) => !service.full?.has(id));
    if (open.length === 0) return this.#refused(new NoInstanceError(service.name, 'all-busy'));
    const weighted = open.filter(({ weight }) => weight > 0);
    const from = weighted.length > 0 ? weighted : open;
    this.#turn = (this.#turn + 1) % from.length;
    const child = this.#connections.ready.get(from[this.#turn]?.id ?? '');
    return child?.pick(args) ?? this.#nobody();
  }

  /** Nobody in the list is connected: the call waits if one is about to be, and fails otherwise. */
  #nobody(): PickResult {
    const { service, told } = this.#input;
    const { connecting, lastError } = this.#connections;
    if (service.instances.length === 0) return this.#unavailable(`${service.name} has no instance that takes requests`);
    // Of one that is new in the list the policy will be told, and then there is another picker.
    if (!service.instances.some(({ id }) => connecting.has(id) || !told.has(id))) {
      return this.#unavailable(`no instance of ${service.name} can be reached; the last error: ${lastError ?? 'none'}`);
    }
    const pickResultType = this.#grpc.experimental.PickResultType.QUEUE;
    return { pickResultType, subchannel: null, status: null, onCallStarted: null, onCallEnded: null };
  }

  /** Calls that are `waitForReady` are refused too: no picker of ours comes when one of the instances is less busy. */
  #refused({ message }: NoInstanceError): PickResult {
    return this.#unavailable(message, this.#grpc.experimental.PickResultType.DROP);
  }

  #unavailable(
    details: string,
    pickResultType: PickResult['pickResultType'] = this.#grpc.experimental.PickResultType.TRANSIENT_FAILURE,
  ): PickResult {
    const status = { code: GrpcCode.UNAVAILABLE, details, metadata: new this.#grpc.Metadata() };
    return { pickResultType, subchannel: null, status, onCallStarted: null, onCallEnded: null };
  }
}

/** The result, and the service is told how the call ends. */
function reported(result: PickResult, picked: Picked<unknown>, outcomeOf: PolicyInput['outcomeOf']): PickResult {
  const onCallEnded: NonNullable<PickResult['onCallEnded']> = (code, details, metadata) => {
    picked.done(outcomeOf(code));
    result.onCallEnded?.(code, details, metadata);
  };
  abandoned.register(onCallEnded, picked);
  return { ...result, onCallEnded };
}
