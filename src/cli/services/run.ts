/**
 * The command `services`: what is registered, and what becomes of it.
 *
 * It reads what any registry of this package, or of Go's `naming/endpoints`, has written, and writes nothing. Entries that
 * nobody can use are told on standard error by key and problem, without what they hold.
 *
 * @module
 */
import { goLayout } from '../../../recipes/services/go-layout.ts';
import { authorityOf, type ServiceInstance } from '../../../recipes/services/instance.ts';
import { jsonLayout } from '../../../recipes/services/json-layout.ts';
import type { ServiceLayout } from '../../../recipes/services/record.ts';
import { ServiceRegistry } from '../../../recipes/services/service-registry.ts';
import { ClosedError, type Etcd, type InformerChange, type KeyValue } from '../../index.ts';
import {
  type CommandContext,
  jsonText,
  printJson,
  type Run,
  readArgs,
  runCommand,
  table,
  UsageError,
  visible,
  words,
} from '../command.ts';
import { CONNECTION_FLAGS, CONNECTION_USAGE, connect } from '../connection.ts';

const USAGE = `Usage: etcdkit services list [NAME] [flags]   the instances that are registered
       etcdkit services watch [NAME] [flags]  the same, and each change, until a signal comes

Flags:
  --prefix PREFIX   where services are. Default: services/, and with --layout go none: then NAME is needed
  --layout LAYOUT   json, or go for what Go's naming/endpoints writes. Default: json

${CONNECTION_USAGE}`;

/** Runs it. @returns The exit status. */
export function runServices(context: CommandContext): Promise<number> {
  return runCommand(context, USAGE, async (run) => {
    const text = { type: 'string' } as const;
    const { values, positionals } = readArgs(context.args, { ...CONNECTION_FLAGS, prefix: text, layout: text });
    if (values.help) {
      run.stdout.write(USAGE);
      return 0;
    }
    const [command = '', name] = words(positionals, ['list or watch', 'NAME'], 1);
    if (command !== 'list' && command !== 'watch') throw new UsageError(`unknown command "${command}"`);
    const layout = layoutOf(values.layout ?? 'json', values.prefix);
    if (name === undefined && layout.root === '') throw new UsageError('NAME or --prefix is missing');
    await using etcd = connect(values, run.environment);
    if (command === 'list') return await list(etcd, run, layout, name, values.json ?? false);
    return await watch(etcd, run, layout, name, values.json ?? false);
  });
}

type Instance = ServiceInstance<unknown>;

function layoutOf(name: string, prefix: string | undefined): ServiceLayout<unknown> {
  if (name === 'json') return jsonLayout({ prefix });
  if (name === 'go') return goLayout({ prefix });
  throw new UsageError(`--layout: json or go, not "${name}"`);
}

async function list(
  etcd: Etcd,
  run: Run,
  layout: ServiceLayout<unknown>,
  name: string | undefined,
  json: boolean,
): Promise<number> {
  const instances: Instance[] = [];
  if (name === undefined) {
    const { services, badEntries } = await new ServiceRegistry(etcd, { layout }).list({ signal: run.signal });
    instances.push(...[...services.values()].flat());
    for (const { key, problem } of badEntries) complain(run, key, problem);
  } else {
    for await (const kv of etcd.scan({ prefix: layout.prefixOf(name) }, { signal: run.signal })) {
      const instance = decoded(run, layout, kv, name);
      if (instance !== undefined) instances.push(instance);
    }
  }
  if (json) {
    printJson(run.stdout, instances);
    return 0;
  }
  const headings = ['SERVICE', 'ID', 'ADDRESS', 'STATUS', 'PROTOCOL', 'VERSION', 'ZONE', 'WEIGHT', 'TAGS'];
  table(run.stdout, headings, instances.map(cellsOf));
  return 0;
}

function cellsOf(instance: Instance): string[] {
  const { name, id, status, protocol, version, zone, weight, tags } = instance;
  const optional = [protocol, version, zone].map((cell) => cell ?? '-');
  return [name, id, authorityOf(instance), status, ...optional, String(weight), tags.join(',')];
}

async function watch(
  etcd: Etcd,
  run: Run,
  layout: ServiceLayout<unknown>,
  name: string | undefined,
  json: boolean,
): Promise<undefined> {
  const prefix = name === undefined ? layout.root : layout.prefixOf(name);
  await using copy = etcd.cache({ prefix }, { signal: run.signal });
  const changes = copy.changes();
  try {
    // The first list is told as changes too.
    for await (const change of changes) tell(run, layout, change, name, json);
  } catch (error) {
    if (!(error instanceof ClosedError && run.signal.aborted)) throw error;
  }
  return undefined;
}

function tell(
  run: Run,
  layout: ServiceLayout<unknown>,
  { current, previous }: InformerChange<string>,
  name: string | undefined,
  json: boolean,
): void {
  const instance = current && decoded(run, layout, current, name);
  const before = previous && decoded(undefined, layout, previous, name);
  const shown = instance ?? before;
  if (shown === undefined) return;
  const type = instance === undefined ? 'removed' : before === undefined ? 'added' : 'updated';
  if (json) {
    run.stdout.write(`${jsonText({ type, instance: shown })}\n`);
    return;
  }
  const what = [`${shown.name}/${shown.id}`, authorityOf(shown), type === 'removed' ? 'gone' : shown.status];
  run.stdout.write(`${type.padEnd(7)}  ${visible(what.join('  '))}\n`);
}

/** @param run Where to complain; nowhere without it. */
function decoded(
  run: Run | undefined,
  layout: ServiceLayout<unknown>,
  kv: KeyValue<string>,
  name: string | undefined,
): Instance | undefined {
  const found = layout.decode(kv.key, kv.valueBytes, name);
  if (found.problem === undefined) return found.instance;
  if (run !== undefined) complain(run, kv.key, found.problem);
  return undefined;
}

function complain({ stderr }: Run, key: string, problem: string): void {
  stderr.write(`${visible(key)}: ${problem}\n`);
}
