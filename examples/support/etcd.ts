/**
 * An etcd for the examples: a member of its own in a temporary folder, gone when disposed.
 *
 * @module
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { Etcd } from 'etcdkit';
import { ensureEtcd, unsupportedArchEnv } from '../../scripts/etcd.ts';

/** A running member. */
export interface LocalEtcd extends AsyncDisposable {
  /** `host:port` for clients. */
  readonly endpoint: string;
  readonly version: string;
}

const START_TIMEOUT_MS = 15_000;

/** Starts one member, fetching etcd first where there is none. */
export async function startEtcd(): Promise<LocalEtcd> {
  const binaries = await ensureEtcd('3.5').catch(() => ensureEtcd('3.4'));
  const folder = await mkdtemp(path.join(os.tmpdir(), 'etcdkit-example-'));
  const [clientPort, peerPort] = [await freePort(), await freePort()];
  const clientUrl = `http://127.0.0.1:${clientPort}`;
  const peerUrl = `http://127.0.0.1:${peerPort}`;
  const args = [
    ['--name', 'example'],
    ['--data-dir', folder],
    ['--listen-client-urls', clientUrl],
    ['--advertise-client-urls', clientUrl],
    ['--listen-peer-urls', peerUrl],
    ['--initial-advertise-peer-urls', peerUrl],
    ['--initial-cluster', `example=${peerUrl}`],
    // The least time to live it grants is one and a half election timeouts.
    ['--heartbeat-interval', '50', '--election-timeout', '500'],
    ['--log-level', 'error'],
  ].flat();
  const env = { PATH: process.env.PATH ?? '', ...unsupportedArchEnv };
  const child = spawn(binaries.etcd, args, { env, stdio: 'ignore' });
  const exited = once(child, 'exit');
  const kill = (): void => void child.kill('SIGKILL');
  // However this process ends, the member is not left behind.
  process.on('exit', kill);
  const stop = async (): Promise<void> => {
    process.off('exit', kill);
    kill();
    await exited;
    await rm(folder, { recursive: true, force: true });
  };
  const endpoint = `127.0.0.1:${clientPort}`;
  try {
    await using etcd = new Etcd({ endpoints: endpoint });
    await etcd.connect({ timeoutMs: START_TIMEOUT_MS });
  } catch (error) {
    await stop();
    throw error;
  }
  return { endpoint, version: binaries.version, [Symbol.asyncDispose]: stop };
}

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
