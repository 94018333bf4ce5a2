/** The files of deploy/ for Prometheus and Grafana, as far as tests read them. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { parse } from 'yaml';
import * as z from 'zod';

export const folder = path.join(import.meta.dirname, '..', '..', 'deploy');

const read = (file: string): string => readFileSync(path.join(folder, file), 'utf8');

const rules = z.strictObject({
  groups: z.array(
    z.strictObject({
      name: z.string(),
      rules: z.array(
        z.strictObject({
          alert: z.string().regex(/^Etcd\w+$/),
          expr: z.string(),
          for: z
            .string()
            .regex(/^\d+m$/)
            .optional(),
          labels: z.strictObject({ severity: z.enum(['warning', 'critical']) }),
          annotations: z.strictObject({ summary: z.string(), runbook: z.string() }),
        }),
      ),
    }),
  ),
});

/** Every alert. */
export const alerts = rules.parse(parse(read('prometheus/alerts.yml'))).groups.flatMap((group) => group.rules);

// biome-ignore lint/suspicious/noTemplateCurlyInString: a variable of Grafana
const source = z.strictObject({ type: z.literal('prometheus'), uid: z.literal('${datasource}') });
const gridPos = z.strictObject({ h: z.int(), w: z.int(), x: z.int(), y: z.int() });
const panel = z.looseObject({ id: z.int(), title: z.string().min(1), gridPos });
const target = z.strictObject({
  refId: z.string().regex(/^[A-Z]$/),
  datasource: source,
  expr: z.string(),
  legendFormat: z.string(),
});

/** A unit that Grafana has; another one is shown as text behind the number. */
const UNITS = ['none', 'percentunit', 'reqps', 'ops', 'Bps', 's', 'bytes'] as const;

const dashboardSchema = z.looseObject({
  title: z.string(),
  uid: z.string().max(40),
  schemaVersion: z.int().min(36),
  templating: z.strictObject({ list: z.array(z.looseObject({ name: z.string(), type: z.string() })) }),
  annotations: z.strictObject({ list: z.array(z.looseObject({ datasource: source, expr: z.string() })) }),
  panels: z.array(
    z.discriminatedUnion('type', [
      panel.extend({ type: z.literal('row'), panels: z.tuple([]) }),
      panel.extend({
        type: z.enum(['timeseries', 'stat']),
        description: z.string().min(1),
        datasource: source,
        fieldConfig: z.looseObject({ defaults: z.looseObject({ unit: z.enum(UNITS) }) }),
        targets: z.array(target).min(1),
      }),
    ]),
  ),
});

/** The dashboard. */
export const dashboard = dashboardSchema.parse(JSON.parse(read('grafana/dashboard.json')));

/** An expression of Grafana as Prometheus gets it. */
function filledIn(expr: string): string {
  const result = expr.replaceAll('$job', 'etcd').replaceAll('$__rate_interval', '1m');
  if (result.includes('$')) throw new Error(`a variable that nobody has: ${result}`);
  return result;
}

/** Every expression of the dashboard. */
export const dashboardExpressions = [
  ...dashboard.panels.flatMap((each) => (each.type === 'row' ? [] : each.targets.map(({ expr }) => expr))),
  ...dashboard.annotations.list.map(({ expr }) => expr),
].map(filledIn);

/** Names of the metrics that an expression asks for. `up` is Prometheus' own. */
export function metricsOf(expression: string): string[] {
  // Text in quotes, and labels in braces and after `by`, are no metrics.
  const bare = expression.replaceAll(/"[^"]*"/g, '').replaceAll(/\{[^}]*\}|\b(?:by|without)\s*\([^)]*\)/g, '');
  return [...bare.matchAll(/\b(?:etcd|grpc|process)_\w+/g)].map(([name]) => name);
}
