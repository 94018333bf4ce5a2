/** The files for Prometheus, by its own tool; and whether members of etcd and of ours have the metrics that they name. */
import { execFile } from 'node:child_process';
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { ensurePromtool } from '../../scripts/promtool.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { probe } from '../support/http-probe.ts';
import { TempFolder } from '../support/lifeline.ts';
import { alerts, dashboardExpressions, folder, metricsOf } from './monitoring.ts';

const run = promisify(execFile);

/** Without it nothing is checked, so in CI that is an error. */
const promtool = await ensurePromtool().catch((error: Error) => {
  if (process.env.CI) throw error;
  console.warn(`skipping what promtool checks: ${error.message}`);
  return undefined;
});

describe.skipIf(promtool === undefined)('promtool', () => {
  async function check(args: readonly string[], cwd: string): Promise<string> {
    return run(promtool ?? '', args, { cwd }).then(
      ({ stdout }) => stdout,
      ({ stdout, stderr }: { stdout: string; stderr: string }) => {
        throw new Error(stdout + stderr);
      },
    );
  }
  const prometheus = path.join(folder, 'prometheus');

  it('takes the alerts, and they fire when they should', async () => {
    expect(await check(['check', 'rules', 'alerts.yml'], prometheus)).toContain(`${alerts.length} rules found`);
    expect(await check(['test', 'rules', 'alerts.test.yml'], prometheus)).toContain('SUCCESS');
  });

  it.each(['compose/prometheus.yml', 'prometheus/kubernetes.yml'])('takes %s', async (file) => {
    await using temporary = new TempFolder('etcdkit-prometheus');
    const text = await readFile(path.join(folder, file), 'utf8');
    // Debian's is built without the discovery of Kubernetes.
    const discovery = /kubernetes_sd_configs:\n\s+- role: pod\n/;
    expect(discovery.test(text)).toBe(file.endsWith('kubernetes.yml'));
    await writeFile(temporary.file('prometheus.yml'), text.replace(discovery, 'static_configs: [targets: [a:1]]\n'));
    await copyFile(path.join(prometheus, 'alerts.yml'), temporary.file('alerts.yml'));
    expect(await check(['check', 'config', 'prometheus.yml'], temporary.path)).toContain('1 rule files found');
  });

  it('understands every expression of the dashboard', async () => {
    await using temporary = new TempFolder('etcdkit-prometheus');
    const rules = dashboardExpressions.map((expr, index) => ({ record: `dashboard:${index}`, expr }));
    await writeFile(temporary.file('rules.yml'), JSON.stringify({ groups: [{ name: 'dashboard', rules }] }));
    expect(await check(['check', 'rules', 'rules.yml'], temporary.path)).toContain(`${rules.length} rules found`);
  });
});

describeOnEtcd(
  'metrics of the alerts and the dashboard',
  (suite) => {
    it('are all served', async () => {
      await suite.cluster.etcdctl(['put', 'k', 'v']);
      const wanted = new Set([...alerts.map(({ expr }) => expr), ...dashboardExpressions].flatMap(metricsOf));
      // Between members some are there once they have talked.
      await expect
        .poll(
          async () => {
            const { body } = await probe(`${suite.cluster.endpoints[0]}/metrics`, { timeoutMs: 5_000 });
            const served = new Set([...body.matchAll(/^([a-z_]+)(?:\{| )/gm)].map(([, name]) => name));
            return [...wanted].filter((name) => !served.has(name));
          },
          { timeout: 40_000, interval: 500 },
        )
        .toEqual([]);
    });
  },
  { members: 3 },
);
