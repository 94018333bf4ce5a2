/**
 * docker-compose.yml, read as Compose reads it: merge keys, the profile that `.env` names, defaults of the image.
 *
 * The schema is strict. A key that is not in it is one that nothing here would honour, and fails.
 *
 * Source: https://github.com/compose-spec/compose-spec/blob/main/spec.md
 */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { parse } from 'yaml';
import * as z from 'zod';
import { type ImageConfig, imageConfigOf } from './dockerfile.ts';

/** The project's folder. */
export const root = path.join(import.meta.dirname, '..', '..');

/** `5s` and the like, in milliseconds. */
const durationMs = z
  .string()
  .regex(/^\d+(ms|s|m)$/)
  .transform((text) => Number.parseInt(text, 10) * { ms: 1, s: 1_000, m: 60_000 }[text.replace(/\d+/, '') as 'ms']);

const healthcheck = z.strictObject({
  // Without it the image's own.
  test: z.tuple([z.literal('CMD')], z.string()).optional(),
  interval: durationMs,
  timeout: durationMs,
  retries: z.int().positive(),
  start_period: durationMs,
});

const service = z.strictObject({
  profiles: z.array(z.string()).min(1),
  image: z.string(),
  build: z.literal('.').optional(),
  command: z.array(z.string()).min(1).optional(),
  restart: z.enum(['no', 'always', 'on-failure', 'unless-stopped']),
  // Compose takes strings, numbers and null; a bare `true` is an error there.
  environment: z.record(z.string().regex(/^[A-Z0-9_]+$/), z.string()).default({}),
  networks: z.strictObject({ default: z.strictObject({ aliases: z.array(z.string()) }) }).optional(),
  // On this machine only, since there is no password.
  ports: z.array(z.string().regex(/^127\.0\.0\.1:\d+:\d+$/)),
  volumes: z.array(z.string().regex(/^[\w./-]+:\/[^\s:]+(:ro)?$/)),
  healthcheck: healthcheck.optional(),
  stop_grace_period: durationMs.optional(),
});

const file = z
  .object({ services: z.record(z.string(), service), volumes: z.record(z.string(), z.strictObject({})) })
  .catchall(z.unknown());

/** A port of a container that is reached on this machine. */
export interface PublishedPort {
  readonly host: string;
  readonly containerPort: number;
}

/** A volume by its name or a file of the project, and where it is in the container. */
export interface Mount {
  readonly source: string;
  readonly target: string;
  readonly readOnly: boolean;
}

/** How and when a container is asked whether it is well. */
export interface Healthcheck extends Omit<z.output<typeof healthcheck>, 'test'> {
  readonly command: readonly string[];
}

/** A service with everything filled in that the file leaves to the image. */
export interface Service {
  readonly name: string;
  /** Its name and aliases in the network. */
  readonly hostnames: readonly string[];
  readonly profiles: readonly string[];
  readonly image: string;
  readonly built: boolean;
  /** ENTRYPOINT and CMD of the Dockerfile, or what the file says; empty for a stranger's image that is left as it is. */
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly ports: readonly PublishedPort[];
  readonly mounts: readonly Mount[];
  readonly healthcheck: Healthcheck | undefined;
  readonly stopGraceMs: number;
}

/** The whole file, and what it stands on. */
export interface Compose {
  readonly services: readonly Service[];
  readonly volumes: readonly string[];
  /** What an `up` without a profile starts. */
  readonly defaultProfiles: readonly string[];
  readonly image: ImageConfig;
  /** Keys of the top level besides services and volumes. */
  readonly extensions: readonly string[];
}

/** Reads the project's files. @throws ZodError for what would not be honoured. */
export async function readCompose(): Promise<Compose> {
  const read = (name: string): Promise<string> => readFile(path.join(root, name), 'utf8');
  const [text, dockerfile, dotEnv] = await Promise.all([read('docker-compose.yml'), read('Dockerfile'), read('.env')]);
  if (/\$\{?\w/.test(text.replaceAll(/^\s*#.*$/gm, ''))) throw new Error('variables of Compose are not filled in here');
  // YAML 1.2 knows no merge keys unless told; Compose does.
  const parsed = file.parse(parse(text, { merge: true }));
  const image = imageConfigOf(dockerfile);
  return {
    services: Object.entries(parsed.services).map(([name, said]) => serviceOf(name, said, image)),
    volumes: Object.keys(parsed.volumes),
    defaultProfiles: (/^COMPOSE_PROFILES=(.*)$/m.exec(dotEnv)?.[1] ?? '').split(',').filter(Boolean),
    image,
    extensions: Object.keys(parsed).filter((key) => key !== 'services' && key !== 'volumes'),
  };
}

function serviceOf(name: string, said: z.output<typeof service>, image: ImageConfig): Service {
  const built = said.build !== undefined;
  const health = said.healthcheck;
  const asked = health?.test?.slice(1) ?? (built ? image.healthcheck : undefined);
  if (health !== undefined && asked === undefined) throw new Error(`${name}: a health check that asks nothing`);
  return {
    name,
    hostnames: [name, ...(said.networks?.default.aliases ?? [])],
    profiles: said.profiles,
    image: said.image,
    built,
    command: said.command ?? (built ? image.command : []),
    environment: { ...(built ? image.environment : {}), ...said.environment },
    ports: said.ports.map((port) => {
      const [, host = '', containerPort] = /^(.*):(\d+)$/.exec(port) ?? [];
      return { host, containerPort: Number(containerPort) };
    }),
    mounts: said.volumes.map((volume) => {
      const [source = '', target = '', mode] = volume.split(':');
      return { source, target, readOnly: mode === 'ro' };
    }),
    healthcheck: health && asked && { ...health, command: asked },
    stopGraceMs: said.stop_grace_period ?? 10_000,
  };
}
