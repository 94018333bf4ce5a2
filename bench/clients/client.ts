/**
 * What a benchmark asks of a client, ours or a peer.
 *
 * @module
 */

/** A client under measurement. */
export interface BenchClient {
  put(key: string, value: string): Promise<unknown>;
  get(key: string): Promise<unknown>;
  /** Watches one key; resolves when the server has confirmed it. `onEvent` is called for each event. */
  watch(key: string, onEvent: () => void): Promise<unknown>;
  close(): Promise<void> | void;
}

/** Makes a client of `endpoint` (`host:port`, no TLS). */
export type MakeClient = (endpoint: string) => Promise<BenchClient>;

/** The clients that can be measured, by name. */
export const clientNames = ['etcdkit', 'etcdkit-coalesced', 'etcd3', 'grpc-js'] as const;

/** One of {@link clientNames}. */
export type ClientName = (typeof clientNames)[number];

/** Loads just the one client, so that a peer's modules weigh on nobody else. */
export async function makeClient(name: ClientName, endpoint: string): Promise<BenchClient> {
  switch (name) {
    case 'etcdkit':
      return (await import('./etcdkit.ts')).makePlain(endpoint);
    case 'etcdkit-coalesced':
      return (await import('./etcdkit.ts')).makeCoalesced(endpoint);
    case 'etcd3':
      return (await import('./etcd3.ts')).make(endpoint);
    case 'grpc-js':
      return (await import('./grpc-js.ts')).make(endpoint);
  }
}
