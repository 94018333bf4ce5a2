/**
 * The command `server`: from the command line to a server that runs until a signal ends it.
 *
 * Exit status: 2 with the usage for a command line that is none, 1 for settings or data that can't be, or a server that
 * failed, with a `fatal` line last; 0 for help and version. After SIGTERM or SIGINT the server ends in order, within a
 * bound; then the process dies by that same signal, so that whoever waits for it sees what ended it. A second signal
 * ends it at once: nothing that was acknowledged depends on an orderly end.
 *
 * @module
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { EtcdServer } from '../etcd-server.ts';
import type { ServerLog } from '../log.ts';
import { timeOfDay } from '../system.ts';
import { ETCD_VERSION } from '../version.ts';
import { makeCertificates } from './auto-tls.ts';
import { type CommandLine, parseCommandLine } from './command-line.ts';
import { addEnvironment } from './environment.ts';
import { SettingsError, UsageError } from './errors.ts';
import { FLAGS, type Given } from './flags/index.ts';
import type { Flag } from './flags/kinds.ts';
import { showCluster } from './initial-cluster.ts';
import { LogLines } from './log-lines.ts';
import { openOutputs } from './outputs.ts';
import { checkNewCluster, logSettingsOf, type ServerSettings, settingsOf } from './settings.ts';
import { serveUntilSignal } from './signals.ts';
import { type Exporting, startExporting } from './tracing.ts';
import { helpText, USAGE, versionText } from './usage.ts';

const CALLER = 'cli/run.ts';

/** How long calls that are in work may take once the server is to end, in ms. */
const GRACE_MS = 2_000;

/** Where a command was started. */
export interface CommandContext {
  /** What follows the name of the command. */
  readonly args: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly packageVersion: string;
}

/** Runs it. @returns The exit status; it may not return at all, if a signal ends the process. */
export async function runServer(context: CommandContext): Promise<number> {
  let line: CommandLine;
  try {
    line = parseCommandLine(context.args);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    process.stderr.write(`${error.message}\n${USAGE}`);
    return 2;
  }
  if (line.help) return print(helpText());
  if (line.given.values().version) return print(versionText(context.packageVersion));
  return start(line, context.environment);
}

function print(text: string): number {
  process.stdout.write(text);
  return 0;
}

async function start({ given: flags, rest }: CommandLine, environment: CommandContext['environment']): Promise<number> {
  // Until the settings are known, to stderr.
  let log: ServerLog = new LogLines({ level: 'info', format: 'json', timeOfDay, outputs: openOutputs(['stderr']) });
  let settings: ServerSettings;
  let exporting: Exporting | undefined;
  try {
    if (rest[0] !== undefined) throw new SettingsError(`'${rest[0]}' is not a valid flag`);
    const given = await gather(flags, environment, log);
    const logging = logSettingsOf(given.values());
    log = new LogLines({ ...logging, timeOfDay, outputs: openOutputs(logging.outputs) });
    settings = await settingsOf(given, (message, fields) => log.write('warn', 'cli/settings.ts', message, fields));
    noteIdle(given, log);
    exporting = await startExporting(given.values(), environment, log);
  } catch (error) {
    return fail(log, 'failed to verify flags', error);
  }
  try {
    return await run(settings, log, exporting);
  } catch (error) {
    return fail(log, 'discovery failed', error);
  } finally {
    await exporting?.shutdown();
  }
}

/** The file alone, or else flags and environment. */
async function gather(flags: Given, environment: CommandContext['environment'], log: ServerLog): Promise<Given> {
  const path = flags.values()['config-file'] || environment.ETCD_CONFIG_FILE || '';
  if (path === '') {
    addEnvironment(flags, environment, (variable) =>
      log.write('warn', 'cli/environment.ts', 'unrecognized environment variable', {
        'environment-variable': variable,
      }),
    );
    return flags;
  }
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new SettingsError(`can't read ${path}: ${(error as NodeJS.ErrnoException).code ?? 'unknown'}`);
  }
  // Who has no file needs nothing to read it with.
  const { parseConfigFile } = await import('./config-file.ts');
  const given = parseConfigFile(text, (key) =>
    log.write('warn', 'cli/config-file.ts', 'unknown key in the config file is ignored', { key }),
  );
  log.write(
    'info',
    'cli/config-file.ts',
    'loaded server configuration, other configuration command line flags and environment variables will be ignored if provided',
    { path },
  );
  return given;
}

/** Says which of the flags that were given do nothing, and what does. A default that is given asks for nothing. */
function noteIdle(given: Given, log: ServerLog): void {
  const values = given.values();
  const idle = given.names.filter((name) => {
    const { effect, fallback }: Flag = FLAGS[name];
    return effect === 'none' && String(values[name]) !== String(fallback);
  });
  if (idle.length > 0) log.write('warn', CALLER, 'flags without effect on this server', { flags: idle });
  for (const name of idle) {
    const { instead }: Flag = FLAGS[name];
    if (instead !== undefined) log.write('warn', CALLER, `--${name} has no meaning here`, { instead });
  }
}

async function run(settings: ServerSettings, log: ServerLog, exporting: Exporting | undefined): Promise<number> {
  const { server: options } = settings;
  const initialised = existsSync(join(options.dataDir, 'member'));
  if (!initialised) checkNewCluster(settings);
  log.write('info', CALLER, 'starting an etcd server', {
    'etcd-version': ETCD_VERSION,
    'node-version': process.version,
    name: options.name,
    'data-dir': options.dataDir,
    'member-initialized': initialised,
    'advertise-client-urls': options.advertiseClientUrls,
    'initial-advertise-peer-urls': options.peerUrls,
    'initial-cluster': showCluster(options.initialCluster),
    'initial-cluster-state': options.initialClusterState,
    'heartbeat-interval': `${options.heartbeatMs}ms`,
    'election-timeout': `${options.electionMs}ms`,
  });
  await makeCertificates(settings.certificates, log);
  // Only now: most of what there is to load is behind it, and help and errors should not wait for that.
  const { EtcdServer } = await import('../etcd-server.ts');
  const start = async (): Promise<Pick<EtcdServer, 'failed' | 'stop'>> => {
    const server = await EtcdServer.start({ ...options, log });
    const stop: EtcdServer['stop'] = async (how) => {
      await server.stop(how);
      // Before the process ends by its signal.
      await exporting?.shutdown();
    };
    return { failed: server.failed, stop };
  };
  const reason = await serveUntilSignal(start, GRACE_MS, log);
  // One that was removed has done all that it was there for.
  if (reason === undefined || (reason instanceof Error && reason.name === 'MemberRemovedError')) return 0;
  return fail(log, 'server failed', reason);
}

function fail(log: ServerLog, message: string, error: unknown): number {
  const fields = error instanceof SettingsError ? error.fields : {};
  log.write('fatal', CALLER, message, { error: error instanceof Error ? error.message : String(error), ...fields });
  return 1;
}
