/** No Docker here: the file is held against the parts of the Compose specification that it uses. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import * as z from 'zod';

const text = await readFile(path.join(import.meta.dirname, '..', '..', 'docker-compose.yml'), 'utf8');

const duration = z.string().regex(/^\d+(ms|s|m|h)$/);
const service = z.strictObject({
  image: z.string().regex(/^[\w.-]+\.[a-z]+\/[\w/-]+:v\d+\.\d+\.\d+$/),
  profiles: z.array(z.string()),
  restart: z.enum(['no', 'always', 'on-failure', 'unless-stopped']),
  // Compose takes strings, numbers and null; a bare `true` is an error there.
  environment: z.record(z.string().regex(/^[A-Z0-9_]+$/), z.union([z.string(), z.number(), z.null()])),
  ports: z.array(z.string().regex(/^127\.0\.0\.1:\d+:\d+$/)),
  volumes: z.array(z.string().regex(/^\w+:\/\S+$/)),
  healthcheck: z.strictObject({
    test: z.tuple([z.literal('CMD')], z.string()),
    interval: duration,
    timeout: duration,
    retries: z.int().positive(),
    start_period: duration,
  }),
});
const compose = z
  .object({ services: z.record(z.string(), service), volumes: z.record(z.string(), z.strictObject({})) })
  .catchall(z.unknown());

describe('docker-compose.yml', () => {
  // `version: '1.2'` knows no merge keys unless told.
  const file = compose.parse(parse(text, { merge: true }));
  const members = Object.entries(file.services);

  it('has only extension fields besides services and volumes', () => {
    const others = Object.keys(file).filter((name) => name !== 'services' && name !== 'volumes');
    expect(others.filter((name) => !name.startsWith('x-'))).toEqual([]);
  });

  it('is a cluster of three, each with its own name, port and volume', () => {
    expect(members.map(([name]) => name)).toEqual(['etcd1', 'etcd2', 'etcd3']);
    for (const [name, { environment, ports, volumes, profiles }] of members) {
      expect(profiles).toEqual(['etcd']);
      expect(environment.ETCD_NAME).toBe(name);
      expect(environment.ETCD_INITIAL_ADVERTISE_PEER_URLS).toBe(`http://${name}:2380`);
      expect(String(environment.ETCD_INITIAL_CLUSTER).split(',')).toContain(`${name}=http://${name}:2380`);
      expect(volumes).toEqual([`${name}:${environment.ETCD_DATA_DIR}`]);
      expect(ports).toEqual([`${String(environment.ETCD_ADVERTISE_CLIENT_URLS).replace('http://', '')}:2379`]);
    }
    expect(new Set(members.flatMap(([, { ports }]) => ports)).size).toBe(3);
  });

  it('declares every volume that is mounted', () => {
    const mounted = members.flatMap(([, { volumes }]) => volumes.map((volume) => volume.split(':')[0]));
    expect(Object.keys(file.volumes).sort()).toEqual(mounted.sort());
  });
});
