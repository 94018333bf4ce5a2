/**
 * The cluster that an example runs on: the one named by `ETCD_ENDPOINTS`, or a bundled server inside its own process.
 *
 * @module
 */
import { Etcd } from 'etcdkit';
import { startEtcd } from 'etcdkit/testing';

/** A client. Dispose of it at the end; a server that was started for it ends with the process. */
export async function connect(): Promise<Etcd> {
  const endpoints = process.env['ETCD_ENDPOINTS']?.split(',');
  return endpoints === undefined ? (await startEtcd()).client() : new Etcd({ endpoints });
}
