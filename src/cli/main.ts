#!/usr/bin/env node
/**
 * The executable `etcdkit`: the first word is the command.
 *
 * A command is a function from its arguments to an exit status, in a module that is loaded only if it is asked for.
 * Another one is a line of {@link COMMANDS}.
 *
 * @module
 */
import { readFileSync } from 'node:fs';

/** What a command is given. */
interface Context {
  readonly args: readonly string[];
  readonly environment: NodeJS.ProcessEnv;
  readonly packageVersion: string;
}

interface Command {
  readonly about: string;
  readonly run: (context: Context) => Promise<number>;
}

const COMMANDS: Readonly<Record<string, Command>> = {
  server: {
    about: "Start an etcd server; takes etcd's own flags.",
    run: async (context) => (await import('../server/cli/run.ts')).runServer(context),
  },
  cluster: {
    about: 'Start a cluster on this machine, show how it is, stop and start its members.',
    run: async (context) => (await import('./cluster/run.ts')).runCluster(context),
  },
  status: {
    about: 'Show how all members of a cluster are.',
    run: async (context) => (await import('./status.ts')).runStatus(context),
  },
  get: {
    about: 'Read keys.',
    run: async (context) => (await import('./keys.ts')).runGet(context),
  },
  put: {
    about: 'Write a key.',
    run: async (context) => (await import('./keys.ts')).runPut(context),
  },
  del: {
    about: 'Delete keys.',
    run: async (context) => (await import('./keys.ts')).runDel(context),
  },
  watch: {
    about: 'Print changes of keys as they happen.',
    run: async (context) => (await import('./keys.ts')).runWatch(context),
  },
  lock: {
    about: 'Hold a lock while a command runs.',
    run: async (context) => (await import('./held/run.ts')).runLock(context),
  },
  elect: {
    about: 'Lead while a command runs, or print who leads.',
    run: async (context) => (await import('./held/run.ts')).runElect(context),
  },
  services: {
    about: 'List and watch the services that are registered.',
    run: async (context) => (await import('./services/run.ts')).runServices(context),
  },
  config: {
    about: 'Validate, publish and roll back configurations.',
    run: async (context) => (await import('./config/run.ts')).runConfig(context),
  },
  snapshot: {
    about: 'Save a backup of a cluster, or restore one into a new data directory.',
    run: async (context) => (await import('./snapshot.ts')).runSnapshot(context),
  },
};

function usage(): string {
  const width = Math.max(...Object.keys(COMMANDS).map((name) => name.length));
  const lines = Object.entries(COMMANDS).map(([name, { about }]) => `  ${name.padEnd(width)}  ${about}`);
  return `Usage: etcdkit <command> [flags]\n\nCommands:\n${lines.join('\n')}\n\netcdkit <command> --help says more.\n`;
}

/** From the package's own file, which lies two folders up, or three once the sources are built. */
function packageVersion(): string {
  for (const up of ['../../package.json', '../../../package.json']) {
    try {
      const found = JSON.parse(readFileSync(new URL(up, import.meta.url), 'utf8')) as { version?: unknown };
      if (typeof found.version === 'string') return found.version;
    } catch {
      // One of the two is not there.
    }
  }
  return 'unknown';
}

async function main([name, ...args]: readonly string[]): Promise<number> {
  if (name === '--version' || name === 'version') {
    process.stdout.write(`etcdkit ${packageVersion()}\n`);
    return 0;
  }
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    process.stdout.write(usage());
    return name === undefined ? 2 : 0;
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined) {
    process.stderr.write(`unknown command "${name}"\n${usage()}`);
    return 2;
  }
  return command.run({ args, environment: process.env, packageVersion: packageVersion() });
}

const status = await main(process.argv.slice(2));
// Not before what was written has got there. What is still open then must not hold a command that is done.
process.stdout.write('', () => process.stderr.write('', () => process.exit(status)));
