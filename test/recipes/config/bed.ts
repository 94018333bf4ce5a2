/** A server in this process, and two clients of it: one for the program, one for the operator. */
import { onTestFinished } from 'vitest';
import * as z from 'zod';
import { Config, type ConfigOptions } from '../../../recipes/config/config.ts';
import type { LiveConfig } from '../../../recipes/config/live-config.ts';
import type { Etcd } from '../../../src/index.ts';
import { startEtcd, type TestCluster } from '../../../src/testing/index.ts';

export const Limits = z.object({ perSecond: z.number().positive(), token: z.string().optional() });
export type Limits = z.infer<typeof Limits>;

export const KEY = 'config/limits';

export interface Bed {
  readonly server: TestCluster;
  readonly etcd: Etcd;
  /** Another client: what it does comes from outside. */
  readonly operator: Etcd;
  readonly limits: Config<Limits>;
}

export async function bed(options: Partial<ConfigOptions<Limits>> = {}): Promise<Bed> {
  const server = await startEtcd();
  onTestFinished(() => server.close());
  const [etcd, operator] = [server.client(), server.client()];
  return { server, etcd, operator, limits: new Config(etcd, KEY, { schema: Limits, ...options }) };
}

/** Everything that a live configuration tells. */
export function told<T>(live: LiveConfig<T>): { readonly values: T[]; readonly errors: unknown[] } {
  const [values, errors]: [T[], unknown[]] = [[], []];
  live.onChange((value) => void values.push(value));
  live.onError((error) => void errors.push(error));
  return { values, errors };
}

/** Resolves with the next value. */
export function nextValue<T>(live: LiveConfig<T>): Promise<T> {
  return new Promise((resolve) => {
    const off = live.onChange((value) => {
      off();
      resolve(value);
    });
  });
}

/** Resolves with the next thing that is wrong. */
export function nextError<T>(live: LiveConfig<T>): Promise<unknown> {
  return new Promise((resolve) => {
    const off = live.onError((error) => {
      off();
      resolve(error);
    });
  });
}
