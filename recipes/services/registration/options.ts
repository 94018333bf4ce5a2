/**
 * What a program says of its instance, and how it is to be kept registered.
 *
 * @module
 */

import { randomBytes } from 'node:crypto';
import { InvalidArgumentError } from '../../../src/index.ts';
import type { WaitOptions } from '../../waiting.ts';
import { fieldsProblem, isObject } from '../fields.ts';
import type { InstanceStatus, Metadata, ServiceInstance } from '../instance.ts';
import type { CheckOptions } from './checks.ts';
import type { DrainOptions } from './drain.ts';

/** What a program says of its instance. The fields are those of {@link ServiceInstance}. */
export interface InstanceSpec<M = Metadata> {
  /** The service. */
  readonly name: string;
  /** Host name or IP address at which others reach it, without brackets. */
  readonly address: string;
  /** The main port. */
  readonly port: number;
  /** The instance, unique within the service. Default: a random one. */
  readonly id?: string | undefined;
  /** Further ports by name. Default: none. */
  readonly ports?: Readonly<Record<string, number>> | undefined;
  /** What is spoken on the main port: `http`, `https`, `grpc`, `grpcs`, or any other word. Default: none. */
  readonly protocol?: string | undefined;
  /** Words to select by. Default: none. */
  readonly tags?: readonly string[] | undefined;
  /** The version of the program. Default: none. */
  readonly version?: string | undefined;
  /** Its share among the instances, relative to the others; 0 takes nothing. Default 1. */
  readonly weight?: number | undefined;
  /** Where it runs. Default: the `zone` of the registry, if it has one. */
  readonly zone?: string | undefined;
  /** What else it says of itself. Default: `{}`. */
  readonly metadata?: M | undefined;
}

/** What can be changed of a registered instance: all but where its record is. A field given as undefined gets its default. */
export type InstancePatch<M = Metadata> = Partial<Omit<InstanceSpec<M>, 'name' | 'id'>>;

/** How to register. `signal` and `timeoutMs` bound the call, not the registration; by default it tries without end. */
export interface RegisterOptions extends WaitOptions {
  /**
   * How long the record outlives its process, in seconds: so long others may still send requests to an instance that has
   * crashed. Default 15. The server raises it to its minimum, 2 s by default.
   */
  readonly ttlSeconds?: number | undefined;
  /** Who this is, for people who look at the keys and for who is refused the same id. Default: host and process id. */
  readonly owner?: string | undefined;
  /**
   * Checks of the instance's own: while one of them fails, it is registered as `down`, and gets no requests. Default: none.
   */
  readonly checks?: readonly CheckOptions[] | undefined;
  /**
   * Whether it is registered only when all checks have passed for the first time. If not, it is registered as `down` until
   * they have. Default true.
   */
  readonly waitForReady?: boolean | undefined;
  /**
   * What to do at first when another has the id: to fail with InstanceIdTakenError, or to wait for `timeoutMs` until it is
   * gone, as is right where ids are fixed: the other may be one's own former life, whose record stays until its lease is
   * over. Default `refuse`.
   */
  readonly whenTaken?: 'refuse' | 'wait' | undefined;
  /** Signals of the process at which it drains, such as `SIGTERM`; see `Registration.drain`. Default: none. */
  readonly drainOn?: readonly NodeJS.Signals[] | undefined;
  /** How it drains at those signals. */
  readonly drain?: DrainOptions | undefined;
  /**
   * Over how long, in milliseconds, the instances of a cluster that was away spread their return, each by chance, as far as
   * they have lost their leases and so have to write. Default 1000.
   */
  readonly rejoinJitterMs?: number | undefined;
  /** The time of day, in milliseconds since 1970, for `registeredAtMs`. Default: the machine's. */
  readonly wallClock?: (() => number) | undefined;
}

/** What was given, with its defaults. @throws InvalidArgumentError that names the field that is wrong, without its value. */
export function toInstance<M>(
  spec: InstanceSpec<M>,
  status: InstanceStatus,
  registeredAtMs: number,
): ServiceInstance<M> {
  const { name, address, port, protocol, version, zone } = spec;
  const { id = randomId(), ports = {}, tags = [], weight = 1, metadata = {} as M } = spec;
  if (typeof name !== 'string' || name === '') throw new InvalidArgumentError('the name of the service is empty');
  if (typeof id !== 'string' || id === '') throw new InvalidArgumentError('the id of the instance is empty');
  const problem = fieldsProblem({ address, port, ports, protocol, tags, version, weight, zone });
  if (problem !== undefined) throw new InvalidArgumentError(problem);
  return {
    name,
    id,
    address,
    port,
    // Copies: what the program changes later is none of the registration's.
    ports: { ...ports },
    protocol,
    tags: [...tags],
    version,
    weight,
    zone,
    metadata: copyOf(metadata),
    status,
    registeredAtMs,
  };
}

/** An instance with some fields changed. @throws InvalidArgumentError */
export function patched<M>(instance: ServiceInstance<M>, patch: InstancePatch<M>): ServiceInstance<M> {
  const { name, id, status, registeredAtMs } = instance;
  return toInstance({ ...instance, ...patch, name, id }, status, registeredAtMs);
}

function copyOf<M>(metadata: M): M {
  if (!isObject(metadata) && !Array.isArray(metadata)) return metadata;
  try {
    return structuredClone(metadata);
  } catch {
    throw new InvalidArgumentError('the metadata hold what cannot be copied');
  }
}

/** 64 bits: among a thousand instances a second one with the same id is not to be expected. */
function randomId(): string {
  return randomBytes(8).toString('hex');
}
