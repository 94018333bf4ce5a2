/** The alerts and the dashboard, as far as the files themselves tell. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import * as z from 'zod';
import { alerts, dashboard, dashboardExpressions, folder, metricsOf } from './monitoring.ts';

const text = (...names: string[]): string => readFileSync(path.join(folder, ...names), 'utf8');

describe('the alerts', () => {
  it('have names of their own and a paragraph each in the guide', () => {
    const names = alerts.map(({ alert }) => alert);
    expect(new Set(names).size).toBe(names.length);
    const guide = text('..', 'docs', 'operations.md');
    const headings = [...guide.matchAll(/^#+ (.*)$/gm)].map(([, heading]) => heading);
    for (const { alert, annotations } of alerts) {
      expect(headings).toContain(alert);
      expect(annotations.runbook).toBe(`docs/operations.md#${alert.toLowerCase()}`);
    }
  });

  it('know the troubles that clusters have', () => {
    const asked = alerts.flatMap(({ expr }) => metricsOf(expr)).join(' ');
    for (const metric of [
      'has_leader',
      'leader_changes_seen',
      'proposals_failed',
      'wal_fsync',
      'quota_backend_bytes',
      'health_failures',
    ])
      expect(asked).toContain(metric);
  });
});

describe('the dashboard', () => {
  const { panels } = dashboard;

  it('has a number and a place of its own for each panel, none wider than the page', () => {
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const taken = new Set<string>();
    for (const { title, gridPos } of panels) {
      expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++)
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect(taken.has(`${x}/${y}`), title).toBe(false);
          taken.add(`${x}/${y}`);
        }
    }
  });

  it('shows one cluster, which the reader chooses', () => {
    expect(dashboard.templating.list.map(({ name }) => name)).toEqual(['datasource', 'job']);
    for (const expression of dashboardExpressions) {
      const selections = expression.match(/\{[^}]*\}/g) ?? [];
      expect(selections.length, expression).toBeGreaterThanOrEqual(metricsOf(expression).length);
      for (const selection of selections) expect(selection).toContain('job="etcd"');
    }
  });

  it('asks for metrics in every panel', () => {
    for (const expression of dashboardExpressions)
      expect(metricsOf(expression).length + Number(expression.includes('up{')), expression).toBeGreaterThan(0);
  });
});

describe('the collector of docker-compose.yml', () => {
  const component = z.record(z.string(), z.unknown());
  const pipeline = z.strictObject({
    receivers: z.array(z.string()),
    processors: z.array(z.string()),
    exporters: z.array(z.string()),
  });
  const collector = z.strictObject({
    receivers: component,
    processors: component,
    exporters: component,
    service: z.strictObject({ pipelines: z.record(z.enum(['traces', 'metrics']), pipeline) }),
  });
  const config = collector.parse(parse(text('compose', 'otel-collector.yml')));

  it('has what its pipelines name, and nothing that none names', () => {
    for (const kind of ['receivers', 'processors', 'exporters'] as const) {
      const used = Object.values(config.service.pipelines).flatMap((each) => each[kind]);
      expect(new Set(used)).toEqual(new Set(Object.keys(config[kind])));
    }
    for (const { processors } of Object.values(config.service.pipelines)) expect(processors[0]).toBe('memory_limiter');
  });

  it('listens where the file of Compose publishes ports and Prometheus scrapes', () => {
    const compose = text('..', 'docker-compose.yml');
    const [grpc, http] = ['4317', '4318'];
    expect(config.receivers).toEqual({
      otlp: { protocols: { grpc: { endpoint: `0.0.0.0:${grpc}` }, http: { endpoint: `0.0.0.0:${http}` } } },
    });
    for (const port of [grpc, http]) expect(compose).toContain(`"127.0.0.1:${port}:${port}"`);
    expect(config.exporters['prometheus']).toEqual({ endpoint: '0.0.0.0:8889' });
    expect(text('compose', 'prometheus.yml')).toContain('collector:8889');
  });
});
