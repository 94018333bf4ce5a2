/**
 * Calls of clients to the services of a machine, over a network of their own: both ways take time, replies get lost.
 *
 * A call ends by its answer, by a refusal, when the machine's run ends or its deadline passes; then nobody knows what
 * became of it.
 */
import { Lease, type LeaseKeepAliveResponse } from '../../../src/protocol/generated/etcdserverpb.ts';
import type { Init, MessageCodec, MethodDescriptor } from '../../../src/protocol/wire.ts';
import { RpcError } from '../../../src/server/refusals.ts';
import { Encoded, type Method, type Outlet, type Reply } from '../../../src/server/rpc/call.ts';
import type { Random } from '../world/random.ts';
import { SimCall } from './call.ts';
import type { MembersCluster } from './cluster.ts';
import type { Machine } from './machine.ts';

/** How a call has ended. `refused` comes from a member; `nobody`: it has reached none. */
export type CallEnd<T> =
  | { readonly type: 'answer'; readonly value: T; readonly session: string }
  | { readonly type: 'refused'; readonly text: string }
  | { readonly type: 'nobody' }
  | { readonly type: 'lost' };

const LOST = { type: 'lost' } as const;

/** One way between a client and a member, in µs. */
const MIN_DELAY_US = 50;
const JITTER_US = 400;

export class Calls {
  readonly #cluster: MembersCluster;
  readonly #random: Random;
  /** Share of replies that never come. */
  lossChance: number;

  constructor(cluster: MembersCluster, random: Random, lossChance: number) {
    this.#cluster = cluster;
    this.#random = random;
    this.lossChance = lossChance;
  }

  /** Makes a call; `done` is called once, never within this. */
  unary<I, O>(
    machine: Machine,
    descriptor: MethodDescriptor<I, O>,
    request: Init<I>,
    timeoutUs: number,
    done: (end: CallEnd<O>) => void,
  ): void {
    this.#call(machine, descriptor.path, timeoutUs, done, (call) => {
      const method: Method | undefined = machine.methods?.get(descriptor.path);
      if (method?.kind !== 'unary') return undefined;
      // As a member of another process would get it.
      const message = descriptor.request.decode(new Uint8Array(descriptor.request.encode(request)));
      const answer = method.handle(message, call);
      return answer.then((reply: Reply<O>) => decoded(descriptor, reply));
    });
  }

  /** Renews a lease once, by a stream of its own. */
  keepAlive(
    machine: Machine,
    id: bigint,
    timeoutUs: number,
    done: (end: CallEnd<LeaseKeepAliveResponse>) => void,
  ): void {
    const { path, request, response } = Lease.leaseKeepAlive;
    this.#call(machine, path, timeoutUs, done, async (call) => {
      const method = machine.methods?.get(path);
      if (method?.kind !== 'bidi') return undefined;
      let answer: LeaseKeepAliveResponse | undefined;
      const out: Outlet<LeaseKeepAliveResponse> = {
        send: (reply) => {
          answer = decoded({ response }, reply);
          return true;
        },
        drained: async () => {},
      };
      await method.handle(once(request.decode(new Uint8Array(request.encode({ ID: id })))), call, out);
      return answer;
    });
  }

  #call<O>(
    machine: Machine,
    path: string,
    timeoutUs: number,
    done: (end: CallEnd<O>) => void,
    handle: (call: SimCall) => Promise<O | undefined> | undefined,
  ): void {
    const { scheduler } = this.#cluster;
    const call = new SimCall(path);
    let over = false;
    const end = (outcome: CallEnd<O>): void => {
      if (over) return;
      over = true;
      machine.calls.delete(broken);
      done(outcome);
    };
    // The connection breaks with the run; that gets around at once.
    const broken = (): void => scheduler.after(this.#delayUs(), () => end(LOST));
    scheduler.after(timeoutUs, () => {
      if (over) return;
      end(LOST);
      machine.process.run(() => call.cancel());
    });
    scheduler.after(this.#delayUs(), () => {
      if (!machine.alive) return end({ type: 'nobody' });
      const run = machine.process;
      run.run(() => {
        const { session } = machine;
        const answer = over ? undefined : handle(call);
        if (answer === undefined) return end({ type: 'nobody' });
        machine.calls.add(broken);
        answer.then(
          (value) => {
            if (!run.alive) return;
            this.#reply(() => end(value === undefined ? { type: 'lost' } : { type: 'answer', value, session }));
          },
          (error: unknown) => {
            if (!run.alive) return;
            if (error instanceof RpcError) this.#reply(() => end({ type: 'refused', text: error.refusal.text }));
            else this.#cluster.verdict.fail('no crash', `${path} failed: ${describe(error)}`);
          },
        );
      });
    });
  }

  #reply(deliver: () => void): void {
    if (this.#random.chance(this.lossChance)) return;
    this.#cluster.scheduler.after(this.#delayUs(), deliver);
  }

  #delayUs(): number {
    return MIN_DELAY_US + this.#random.below(JITTER_US);
  }
}

async function* once<T>(item: T): AsyncGenerator<T, void, undefined> {
  yield item;
}

function decoded<O>({ response }: { readonly response: MessageCodec<O> }, reply: Reply<O>): O {
  return response.decode(new Uint8Array(reply instanceof Encoded ? reply.bytes : response.encode(reply)));
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
