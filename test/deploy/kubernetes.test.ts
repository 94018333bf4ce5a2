/** The objects of deploy/kubernetes/: of Kubernetes' types, and in agreement with each other and with the image. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { StatefulSet } from 'kubernetes-types/apps/v1.js';
import type { CronJob, Job } from 'kubernetes-types/batch/v1.js';
import type { Container, PodSpec, Service } from 'kubernetes-types/core/v1.js';
import type { NetworkPolicy } from 'kubernetes-types/networking/v1.js';
import type { PodDisruptionBudget } from 'kubernetes-types/policy/v1.js';
import { describe, expect, it } from 'vitest';
import { flagNamed } from '../../src/server/cli/flags/index.ts';
import { TempFolder } from '../support/lifeline.ts';
import { kustomize, type Manifest, manifestsOf, typeErrors } from './manifests.ts';

const bundled = kustomize('overlays/bundled');
const real = kustomize('overlays/etcd');
const backup = kustomize('backup');
const restore = manifestsOf('backup/restore.yaml', { MEMBER: 'etcd-0' });

function find<T>(objects: readonly Manifest[], kind: string, name = 'etcd'): T {
  const found = objects.find((object) => object.kind === kind && object.metadata.name === name);
  if (found === undefined) throw new Error(`there is no ${kind} ${name}`);
  return found as T;
}

/** Runs a container's shell, with folders of this machine in the place of its volumes. */
function runHere(container: Container | undefined, paths: Readonly<Record<string, string>>): void {
  const [shell = '', ...words] = [...(container?.command ?? []), ...(container?.args ?? [])];
  const rewrite = (word: string): string =>
    Object.entries(paths).reduce((text, [from, to]) => text.replaceAll(from, to), word);
  execFileSync(shell, words.map(rewrite), { stdio: 'pipe' });
}

const set = find<StatefulSet>(real, 'StatefulSet');
const pod = set.spec?.template.spec as PodSpec;
const [member] = pod.containers as [Container];
const environment = new Map(member.env?.map(({ name, value }) => [name, value]));

describe('the objects', () => {
  it('are what Kubernetes describes, to the last field', () => {
    expect(typeErrors([...bundled, ...real, ...backup, ...restore])).toEqual([]);
  });

  it('would not be with a field that does not exist, or of another type', () => {
    const wrong = structuredClone(set) as unknown as { spec: Record<string, unknown> } & Manifest;
    wrong.spec.replica = 3;
    expect(typeErrors([wrong]).join()).toContain('replica');
    delete wrong.spec.replica;
    wrong.spec.replicas = '3';
    expect(typeErrors([wrong]).join()).toContain('number');
  });

  it('of the two overlays differ in the image and in nothing else', () => {
    expect(member.image).toMatch(/^quay\.io\/coreos\/etcd:v3\.5\.\d+$/);
    const text = JSON.stringify(bundled).replaceAll('etcdkit:latest', member.image ?? '');
    expect(JSON.parse(text)).toEqual(real);
  });
});

describe('the StatefulSet', () => {
  it('starts what both images know, with settings of etcd in the environment and no flag, which would clash', () => {
    expect(member.command).toEqual(['etcd']);
    expect(member.args).toBeUndefined();
    for (const name of environment.keys()) {
      const flag = name.replace('ETCD_', '').toLowerCase().replaceAll('_', '-');
      expect(flagNamed(flag), name).toBeDefined();
    }
  });

  it('names the members as its pods and their service are named', () => {
    const pods = Array.from({ length: set.spec?.replicas ?? 0 }, (_, index) => `${set.metadata?.name}-${index}`);
    const urlOf = (name: string): string => `http://${name}.${set.spec?.serviceName}:2380`;
    expect(environment.get('ETCD_INITIAL_CLUSTER')).toBe(pods.map((name) => `${name}=${urlOf(name)}`).join(','));
    expect(environment.get('ETCD_INITIAL_ADVERTISE_PEER_URLS')).toBe(urlOf('$(ETCD_NAME)'));
    expect(member.env?.find(({ name }) => name === 'ETCD_NAME')?.valueFrom?.fieldRef?.fieldPath).toBe('metadata.name');
    const peers = find<Service>(real, 'Service', set.spec?.serviceName);
    expect(peers.spec).toMatchObject({ clusterIP: 'None', publishNotReadyAddresses: true });
    expect(set.spec?.podManagementPolicy).toBe('Parallel');
  });

  it('is selected by its services, its budget and its policy', () => {
    const labels = set.spec?.template.metadata?.labels;
    const selectors = [
      set.spec?.selector.matchLabels,
      find<Service>(real, 'Service').spec?.selector,
      find<Service>(real, 'Service', 'etcd-peers').spec?.selector,
      find<PodDisruptionBudget>(real, 'PodDisruptionBudget').spec?.selector?.matchLabels,
      find<NetworkPolicy>(real, 'NetworkPolicy').spec?.podSelector?.matchLabels,
      pod.affinity?.podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.[0]?.labelSelector?.matchLabels,
    ];
    for (const selector of selectors) expect(selector).toEqual(labels);
    expect(find<PodDisruptionBudget>(real, 'PodDisruptionBudget').spec?.maxUnavailable).toBe(1);
  });

  it('has its data in the volume, and ports by the names that others use', () => {
    const mount = member.volumeMounts?.find(({ name }) => name === 'data');
    expect(environment.get('ETCD_DATA_DIR')?.startsWith(`${mount?.mountPath}/`)).toBe(true);
    expect(set.spec?.volumeClaimTemplates?.[0]?.metadata?.name).toBe('data');
    const ports = new Map(member.ports?.map(({ name, containerPort }) => [name, containerPort]));
    for (const name of ['etcd', 'etcd-peers'])
      for (const { port, targetPort } of find<Service>(real, 'Service', name).spec?.ports ?? [])
        expect(ports.get(String(targetPort))).toBe(port);
    expect(ports.get('client')).toBe(Number(environment.get('ETCD_LISTEN_CLIENT_URLS')?.split(':').at(-1)));
    expect(ports.get('peer')).toBe(Number(environment.get('ETCD_LISTEN_PEER_URLS')?.split(':').at(-1)));
  });

  it('asks what tells a restart apart from patience', () => {
    expect(member.livenessProbe?.httpGet).toEqual({ path: '/livez', port: 'client' });
    expect(member.startupProbe?.httpGet).toEqual({ path: '/livez', port: 'client' });
    expect(member.readinessProbe?.httpGet).toEqual({ path: '/readyz', port: 'client' });
  });

  it('and the jobs run confined', () => {
    const jobs = [
      find<CronJob>(backup, 'CronJob', 'etcd-backup').spec?.jobTemplate.spec?.template.spec,
      find<Job>(restore, 'Job', 'restore-etcd-0').spec?.template.spec,
    ] as PodSpec[];
    for (const { containers, initContainers = [], securityContext, ...rest } of [pod, ...jobs]) {
      expect(rest).toMatchObject({ automountServiceAccountToken: false, enableServiceLinks: false });
      expect(securityContext).toMatchObject({ runAsNonRoot: true, fsGroup: 1000 });
      for (const { securityContext: confined, image } of [...initContainers, ...containers]) {
        expect(confined?.allowPrivilegeEscalation).toBe(false);
        expect(confined?.readOnlyRootFilesystem).toBe(true);
        expect(confined?.capabilities?.drop).toEqual(['ALL']);
        expect(image).toMatch(/:\S+$/);
      }
    }
  });
});

describe('the backup', () => {
  it('may talk to the members, and keeps no file that could not be read back', () => {
    const template = find<CronJob>(backup, 'CronJob', 'etcd-backup').spec?.jobTemplate.spec?.template;
    const clients = find<NetworkPolicy>(real, 'NetworkPolicy').spec?.ingress?.[1]?.from?.[0]?.podSelector?.matchLabels;
    expect(template?.metadata?.labels).toMatchObject(clients ?? { none: '' });
    expect(template?.spec?.initContainers?.map(({ name }) => name)).toEqual(['save', 'verify']);
    expect(template?.spec?.initContainers?.every(({ image }) => image === member.image)).toBe(true);
  });

  it('keeps the newest 28, by names that tell when', async () => {
    await using folder = new TempFolder('etcdkit-backup');
    for (let day = 1; day <= 30; day++)
      writeFileSync(folder.file(`etcd-202001${String(day).padStart(2, '0')}T001700Z.db`), '');
    writeFileSync(folder.file('new.db'), 'newest');
    writeFileSync(folder.file('restore.db'), '');
    const { containers = [] } =
      find<CronJob>(backup, 'CronJob', 'etcd-backup').spec?.jobTemplate.spec?.template.spec ?? {};
    runHere(containers[0], { '/backup': folder.path });
    const kept = readdirSync(folder.path).filter((name) => name.startsWith('etcd-'));
    expect(kept).toHaveLength(28);
    expect(kept[0]).toBe('etcd-20200104T001700Z.db');
    expect(readFileSync(folder.file(kept.at(-1) ?? ''), 'utf8')).toBe('newest');
    // What somebody is about to restore is none of its business.
    expect(readdirSync(folder.path).filter((name) => !name.startsWith('etcd-'))).toEqual(['restore.db']);
  });

  it('is not restored over data that is there, nor without a file', async () => {
    await using folder = new TempFolder('etcdkit-restore');
    const [aside] = find<Job>(restore, 'Job', 'restore-etcd-0').spec?.template.spec?.initContainers ?? [];
    const paths = { '/backup': folder.file('backup'), '/var/lib/etcd': folder.file('volume') };
    for (const made of ['backup', 'volume', 'volume/data']) mkdirSync(folder.file(made));
    writeFileSync(folder.file('volume', 'data', 'old'), '');
    expect(() => runHere(aside, paths)).toThrow();
    expect(readdirSync(folder.file('volume'))).toEqual(['data']);
    writeFileSync(folder.file('backup', 'restore.db'), '');
    runHere(aside, paths);
    const [old = '', ...others] = readdirSync(folder.file('volume'));
    expect(old).toMatch(/^old-\d{8}T\d{6}Z$/);
    expect(others).toEqual([]);
    expect(readdirSync(folder.file('volume', old))).toEqual(['old']);
  });

  it('is restored into the claims and with the members of the StatefulSet', () => {
    const spec = find<Job>(restore, 'Job', 'restore-etcd-0').spec?.template.spec;
    const args = spec?.containers[0]?.args ?? [];
    expect(args).toContain(`--initial-cluster=${environment.get('ETCD_INITIAL_CLUSTER')}`);
    expect(args).toContain(`--data-dir=${environment.get('ETCD_DATA_DIR')}`);
    const url = environment.get('ETCD_INITIAL_ADVERTISE_PEER_URLS')?.replace('$(ETCD_NAME)', 'etcd-0');
    expect(args).toContain(`--initial-advertise-peer-urls=${url}`);
    expect(spec?.volumes?.map(({ persistentVolumeClaim: claim }) => claim?.claimName)).toEqual([
      `data-${set.metadata?.name}-0`,
      find<Manifest>(backup, 'PersistentVolumeClaim', 'etcd-backup').metadata.name,
    ]);
  });
});
