/**
 * An `http.Agent` that knows services by name.
 *
 * An agent makes connections, and keeps those that can be used again by host name. Here a host name stands for many
 * instances, and a kept connection would go on with one that has drained; so each request has a connection of its own,
 * which is what an agent without `keepAlive` does.
 *
 * @module
 */

import { Agent, type ClientRequestArgs } from 'node:http';
import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { DiscoveredService, Picked } from '../../recipes/services/discovered.ts';
import type { Clock } from '../index.ts';
import { MAX_CONNECTS } from './retry.ts';
import { portOf, type Routes } from './routing.ts';
import type { Services } from './services.ts';

/** What an agent is made of. */
export interface AgentParts {
  readonly services: Services;
  readonly routes: Routes;
  readonly portName: string | undefined;
  readonly connectTimeoutMs: number;
  readonly clock: Clock;
}

export class ServiceAgent extends Agent {
  readonly #parts: AgentParts;

  constructor(parts: AgentParts) {
    super({ keepAlive: false });
    this.#parts = parts;
  }

  override createConnection(
    options: ClientRequestArgs,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): Duplex | null | undefined {
    const route = this.#parts.routes.of(`http://${options.host}:${options.port ?? 80}`);
    if (route === undefined || callback === undefined) return super.createConnection(options, callback);
    this.#connect(route.service).then(
      (socket) => callback(null, socket),
      // Node's own agent gives no stream with an error either.
      (error: Error) => callback(error, undefined as unknown as Duplex),
    );
    return undefined;
  }

  /** Ends its connections, and closes its discoveries. */
  override destroy(): void {
    super.destroy();
    void this.#parts.services.close();
  }

  async #connect(name: string): Promise<Socket> {
    const { services } = this.#parts;
    const service = services.known(name) ?? (await services.listed(name));
    const tried = new Set<string>();
    for (let failure: unknown; ; ) {
      const picked = pickAnother(service, tried, failure);
      try {
        return await this.#open(picked);
      } catch (error) {
        picked.done('failure');
        failure = error;
        if (tried.size > MAX_CONNECTS) throw error;
      }
    }
  }

  #open(picked: Picked<unknown>): Promise<Socket> {
    const { portName, clock, connectTimeoutMs } = this.#parts;
    const { instance, authority } = picked;
    return new Promise((resolve, reject) => {
      const socket = connect({ host: instance.address, port: portOf(instance, portName) });
      const late = (): void =>
        void socket.destroy(new Error(`no connection to ${authority} in ${connectTimeoutMs} ms`));
      const timer = clock.after(connectTimeoutMs, late);
      const onError = (error: Error): void => {
        timer.cancel();
        reject(error);
      };
      socket.once('error', onError);
      socket.once('connect', () => {
        timer.cancel();
        socket.off('error', onError);
        socket.once('close', (hadError) => picked.done(hadError ? 'failure' : 'success'));
        resolve(socket);
      });
    });
  }
}

/** @throws the last failure when there is none that was not tried; NoInstanceError when there was none at all. */
function pickAnother(service: DiscoveredService<unknown>, tried: Set<string>, failure: unknown): Picked<unknown> {
  let picked: Picked<unknown>;
  try {
    picked = service.pick({ avoid: tried });
  } catch (error) {
    throw failure ?? error;
  }
  const { id } = picked.instance;
  if (tried.has(id)) {
    picked.done('cancelled');
    throw failure;
  }
  tried.add(id);
  return picked;
}
