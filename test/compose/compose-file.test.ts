/** What docker-compose.yml, the Dockerfile and .dockerignore say, held against each other. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { readCompose, root, type Service } from './compose-file.ts';
import { imageConfigOf } from './dockerfile.ts';

const compose = await readCompose();
const { services, image } = compose;
const ofProfile = (profile: string): Service[] => services.filter(({ profiles }) => profiles.includes(profile));
const text = (name: string): string => readFileSync(path.join(root, name), 'utf8');

describe('docker-compose.yml', () => {
  it('has three profiles, and an up without one starts the bundled server', () => {
    expect(new Set(services.flatMap(({ profiles }) => profiles))).toEqual(
      new Set(['bundled', 'etcd', 'observability']),
    );
    expect(compose.defaultProfiles).toEqual(['bundled']);
    expect(ofProfile('bundled').every(({ built }) => built)).toBe(true);
    expect(ofProfile('etcd').some(({ built }) => built)).toBe(false);
  });

  it('has only extension fields besides services and volumes', () => {
    expect(compose.extensions.filter((name) => !name.startsWith('x-'))).toEqual([]);
  });

  it('has images with a version, but for its own', () => {
    for (const { built, image: name } of services) if (!built) expect(name).toMatch(/^[\w./-]+:v?\d+\.\d+\.\d+$/);
  });

  it.each(['bundled', 'etcd'])('%s: a cluster of three, each with its own name, port and volume', (profile) => {
    const members = ofProfile(profile);
    expect(members).toHaveLength(3);
    for (const { environment, hostnames, ports, mounts, healthcheck } of members) {
      const name = environment.ETCD_NAME ?? '';
      expect(hostnames).toContain(name);
      expect(environment.ETCD_INITIAL_ADVERTISE_PEER_URLS).toBe(`http://${name}:2380`);
      expect(environment.ETCD_INITIAL_CLUSTER?.split(',')).toContain(`${name}=http://${name}:2380`);
      expect(mounts.map(({ target }) => target)).toEqual([environment.ETCD_DATA_DIR]);
      const published = environment.ETCD_ADVERTISE_CLIENT_URLS?.replace('http://', '');
      expect(ports).toEqual([{ host: published, containerPort: 2379 }]);
      expect(healthcheck?.command.length).toBeGreaterThan(1);
    }
    for (const own of [
      members.map(({ ports }) => ports[0]?.host),
      members.map(({ mounts }) => mounts[0]?.source),
      members.map(({ environment }) => environment.ETCD_NAME),
    ])
      expect(new Set(own).size).toBe(3);
  });

  it('real etcd has the ports and the environment of the bundled server, and volumes of its own', () => {
    const [bundled, etcd] = [ofProfile('bundled'), ofProfile('etcd')];
    expect(etcd.map(({ ports }) => ports)).toEqual(bundled.map(({ ports }) => ports));
    for (const [index, { environment }] of etcd.entries())
      expect(bundled[index]?.environment).toMatchObject(environment);
    const sources = [...bundled, ...etcd].flatMap(({ mounts }) => mounts.map(({ source }) => source));
    expect(new Set(sources).size).toBe(6);
  });

  it('declares every volume that is mounted, and mounts files that are there, read-only', () => {
    const mounts = services.flatMap((service) => service.mounts);
    const named = mounts.filter(({ source }) => !source.startsWith('.'));
    expect(named.map(({ source }) => source).sort()).toEqual([...compose.volumes].sort());
    for (const { source, readOnly } of mounts.filter(({ source }) => source.startsWith('.'))) {
      expect(existsSync(path.join(root, source)), source).toBe(true);
      expect(readOnly).toBe(true);
    }
  });

  it('observability: the commands name files that are mounted', () => {
    for (const { command, mounts, environment } of ofProfile('observability')) {
      const config = command.find((word) => word.startsWith('--config'))?.split('=')[1];
      expect(mounts.map(({ target }) => target)).toContain(config);
      expect(environment).toEqual({});
    }
  });
});

describe('the Dockerfile', () => {
  it('runs the server as nobody special, and says how to ask for its health', () => {
    expect(image.command).toEqual(['etcdkit', 'server']);
    expect(image.user).toBe('node');
    expect(image.healthcheck?.[0]).toBe('node');
    expect(Object.keys(JSON.parse(text('package.json')).bin)).toContain(image.command[0]);
  });

  it('has a Node.js that the package allows', () => {
    const [, major] = /^node:(\d+)-/.exec(image.from) ?? [];
    expect(Number(major)).toBeGreaterThanOrEqual(20);
  });

  it('copies everything that the package publishes and that runs', () => {
    const copied = image.instructions.flatMap(({ name, text: args }) =>
      name === 'COPY' ? (/^--from=build \/build\/(\S+) \/opt\/etcdkit\/\1$/.exec(args)?.[1] ?? []) : [],
    );
    expect(copied).toEqual(['package.json', 'node_modules', 'bin', 'proto', 'dist']);
  });

  it('is built from a list of folders, all of which are there, and which has no more than the build needs', () => {
    const lines = text('.dockerignore')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
    expect(lines[0]).toBe('*');
    const allowed = lines.filter((line) => line.startsWith('!')).map((line) => line.slice(1));
    for (const name of allowed) expect(existsSync(path.join(root, name)), name).toBe(true);
    const { include } = JSON.parse(text('tsconfig.build.json')) as { include: string[] };
    expect(allowed).toEqual(
      expect.arrayContaining([...include, 'tsconfig.json', 'tsconfig.build.json', 'bin', 'proto']),
    );
    expect(allowed).not.toContain('.env');
  });

  it('an instruction that is not understood is an error', () => {
    expect(() => imageConfigOf('FROM scratch\nONBUILD RUN true')).toThrow('ONBUILD');
    expect(imageConfigOf('FROM a AS b\nCMD ["x"]\nFROM c\nENV A=b=c\nENTRYPOINT ["y", \\\n  "z"]')).toMatchObject({
      from: 'c',
      command: ['y', 'z'],
      environment: { A: 'b=c' },
      healthcheck: undefined,
    });
  });
});
