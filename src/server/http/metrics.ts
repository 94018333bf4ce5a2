/**
 * The metrics of a server, for Prometheus.
 *
 * Each server has its own. What can be read off the member is read when somebody asks (`families.ts` has the names, and
 * is loaded only then); what passes is counted as it does, in `measures.ts`.
 *
 * @module
 */
import type { ServingMember } from '../member/serving.ts';
import type { MethodTable } from '../rpc/call.ts';
import type { Exposition } from './exposition.ts';
import { Measures } from './measures.ts';

/** See the head of this file. */
export class ServerMetrics extends Measures {
  #served: { readonly member: ServingMember; readonly methods: MethodTable } | undefined;
  #exposition: Promise<Exposition> | undefined;

  /** Says whose metrics these are. Once, before {@link render}. */
  serve(member: ServingMember, methods: MethodTable): void {
    this.calls.cover(methods);
    this.#served = { member, methods };
  }

  /** All metrics as Prometheus reads them. */
  async render(): Promise<string> {
    this.#exposition ??= this.#expose();
    return (await this.#exposition).render();
  }

  async #expose(): Promise<Exposition> {
    const { exposeAll } = await import('./families.ts');
    return exposeAll(this, this.#served);
  }
}
