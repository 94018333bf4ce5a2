/**
 * How long calls take, from a request that is decoded to its answer: what `--metrics extensive` adds.
 *
 * It is measured around the methods, so a server that does not want it pays nothing.
 *
 * @module
 */
import type { Clock } from '../../support/clock.ts';
import type { Method, MethodTable } from '../rpc/call.ts';
import { LabelledDurations } from './tallies.ts';

/** Those that all of gRPC's servers have for this: from 5 ms to 10 s. */
const BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** Durations of calls, by path. */
export class CallTimes {
  readonly byPath = new LabelledDurations(BOUNDS);

  /** The same methods, with their calls measured: also those that are refused, and streams from start to end. */
  around(methods: MethodTable, clock: Clock): MethodTable {
    return new Map(Array.from(methods, ([path, method]) => [path, this.#measured(path, method, clock)]));
  }

  #measured(path: string, method: Method, clock: Clock): Method {
    const durations = this.byPath.of(path);
    const measured =
      <Args extends unknown[], Result>(handle: (...args: Args) => Promise<Result>) =>
      async (...args: Args): Promise<Result> => {
        const begunAt = clock.now();
        try {
          return await handle(...args);
        } finally {
          durations.observe((clock.now() - begunAt) / 1_000);
        }
      };
    if (method.kind === 'unary') return { ...method, handle: measured(method.handle) };
    if (method.kind === 'server-stream') return { ...method, handle: measured(method.handle) };
    return { ...method, handle: measured(method.handle) };
  }
}
