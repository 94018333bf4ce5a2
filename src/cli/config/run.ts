/**
 * The command `config`: validate, publish, roll back and look at configurations, by the same rules as programs do.
 *
 * No secret is ever printed: what the schema's module, `--secret` or the last publication names as one shows as `***`, and
 * there is no flag that shows it. A text that cannot be read in its format is not shown when there are secrets, since
 * nobody could say where in it they are.
 *
 * @module
 */
import { readFile } from 'node:fs/promises';
import { Config } from '../../../recipes/config/config.ts';
import type { ConfigVersion } from '../../../recipes/config/history.ts';
import { ConfigText, JSON_FORMAT, redacted } from '../../../recipes/config/text.ts';
import type { Etcd, Revision, StandardSchema } from '../../index.ts';
import {
  type CommandContext,
  printJson,
  type Run,
  revisionNumber,
  runCommand,
  table,
  UsageError,
  wholeNumber,
  words,
} from '../command.ts';
import { connect } from '../connection.ts';
import { formatOf, loadSchema } from './schema-file.ts';
import { CONFIG_USAGE, type ConfigLine, parseConfig } from './settings.ts';

/** Runs it. @returns The exit status. */
export function runConfig(context: CommandContext): Promise<number> {
  return runCommand(context, CONFIG_USAGE, async (run) => {
    const line = parseConfig(context.args);
    if (line.values.help || line.command === undefined) {
      run.stdout.write(CONFIG_USAGE);
      return 0;
    }
    if (line.command === 'validate') return validate(run, line);
    await using etcd = connect(line.values, run.environment);
    // Not before it is done: the client is closed at the end of the block.
    return await change(run, line, etcd);
  });
}

/** Everything that a command works with. */
interface Work {
  readonly run: Run;
  readonly line: ConfigLine;
  readonly config: Config<unknown>;
  readonly text: ConfigText<unknown>;
  readonly secrets: readonly string[];
}

async function change(run: Run, line: ConfigLine, etcd: Etcd): Promise<number> {
  const { command, values } = line;
  const takesTwo = command === 'publish' || command === 'stage' || command === 'share';
  const [key = '', second = ''] = words(line.rest, takesTwo ? ['KEY', command === 'share' ? 'N' : 'FILE'] : ['KEY']);
  const file = command === 'share' ? undefined : second;
  const { schema, secrets: named } = await loadSchema(values.schema);
  const secrets = [...named, ...(values.secret ?? [])];
  const format = await formatOf(values.format, file);
  const options = { schema, format, secrets, author: values.author };
  const keep = values.keep === undefined ? undefined : wholeNumber('keep', values.keep, 0);
  const config = new Config<unknown>(etcd, key, { ...options, keep });
  const work: Work = { run, line, config, text: new ConfigText<unknown>(options), secrets };
  const { signal } = run;
  switch (command) {
    case 'publish':
      return written(work, await config.publishText(await readText(run, second), publishOptions(work)));
    case 'stage': {
      const share = percent(values.share ?? '');
      const { message } = values;
      return written(work, await config.stageText(await readText(run, second), { share, message, signal }));
    }
    case 'share':
      return written(work, await config.setShare(percent(second), { signal }));
    case 'promote':
      return written(work, await config.promote({ message: values.message, signal }));
    case 'abandon':
      await config.abandon({ signal });
      return 0;
    case 'rollback': {
      if (values.to === undefined) throw new UsageError('--to: which revision?');
      return written(work, await config.rollBack(revisionNumber('to', values.to) as Revision, publishOptions(work)));
    }
    case 'show':
      return show(work);
    case 'history':
      return history(work);
    case 'validate':
    case undefined:
      throw new UsageError('which command?');
  }
}

function publishOptions({ line: { values }, run: { signal } }: Work) {
  return {
    expected: values.expect === undefined ? undefined : (revisionNumber('expect', values.expect) as Revision),
    message: values.message,
    staged: values['abandon-staged'] ? ('abandon' as const) : undefined,
    signal,
  };
}

function percent(value: string): number {
  const share = Number(value);
  if (/^\d+(\.\d+)?$/.test(value) && share <= 100) return share;
  throw new UsageError('--share: a number from 0 to 100');
}

function written({ run, line, config }: Work, revision: Revision): number {
  if (line.values.json) printJson(run.stdout, { key: config.key, revision });
  else run.stdout.write(`${revision}\n`);
  return 0;
}

/** The author of a file may see what a schema says of it, but for what is secret; the places are enough then. */
async function validate(run: Run, { rest, values }: ConfigLine): Promise<number> {
  const [file = ''] = words(rest, ['FILE']);
  const { schema, secrets: named } = await loadSchema(values.schema);
  const secrets = [...named, ...(values.secret ?? [])];
  const format = await formatOf(values.format, file);
  const content = await readText(run, file);
  let value: unknown;
  try {
    value = (format ?? JSON_FORMAT).parse(content);
  } catch {
    throw new Error(`${file} cannot be read in its format`);
  }
  const issues = schema === undefined ? [] : await issuesOf(schema, value);
  for (const { path, message } of issues) {
    run.stderr.write(`${file}: ${path || 'the whole'}${secrets.length === 0 ? `: ${message}` : ' does not fit'}\n`);
  }
  if (values.json) printJson(run.stdout, { valid: issues.length === 0, paths: issues.map(({ path }) => path) });
  return issues.length === 0 ? 0 : 1;
}

async function issuesOf(schema: StandardSchema, value: unknown): Promise<{ path: string; message: string }[]> {
  const { issues = [] } = await schema['~standard'].validate(value);
  return issues.map(({ path = [], message }) => {
    const parts = path.map((part) => String(typeof part === 'object' ? part.key : part));
    return { path: parts.join('.'), message };
  });
}

/** What is published goes to standard output as it is, but for secrets; what is said about it to standard error. */
async function show(work: Work): Promise<number> {
  const { run, line, config } = work;
  const { revision } = line.values;
  const { signal } = run;
  const { versions } = await config.history({ limit: 1, signal });
  const version =
    revision === undefined
      ? versions.find(({ isCurrent }) => isCurrent)
      : await config.version(revisionNumber('revision', revision) as Revision, { signal });
  if (version === undefined) throw new Error(`${config.key} is not there`);
  const secrets = [...work.secrets, ...version.secrets, ...(versions[0]?.secrets ?? [])];
  if (line.values.json) {
    printJson(run.stdout, { ...described(version), value: await shownValue(work, version, secrets) });
    return 0;
  }
  const { message, by } = version;
  run.stderr.write(
    `revision ${version.revision}${by ? ` by ${by.owner} ${by.since}` : ''}${message ? `: ${message}` : ''}\n`,
  );
  const shown = await shownText(work, version, secrets);
  run.stdout.write(shown.endsWith('\n') ? shown : `${shown}\n`);
  return 0;
}

async function history(work: Work): Promise<number> {
  const { run, line, config } = work;
  const limit = wholeNumber('limit', line.values.limit ?? '20', 1);
  const { versions, compactedBelow, more } = await config.history({ limit, signal: run.signal });
  if (line.values.json) {
    printJson(run.stdout, { versions: versions.map(described), compactedBelow, more });
    return 0;
  }
  table(
    run.stdout,
    ['REVISION', 'WHEN', 'BY', 'KEPT', 'MESSAGE'],
    versions.map(({ revision, by, message, isCurrent, isKept }) => [
      String(revision),
      by?.since ?? '-',
      by?.owner ?? '-',
      isCurrent ? 'current' : isKept ? 'yes' : 'until compaction',
      message ?? '',
    ]),
  );
  if (more) run.stderr.write('there are older versions: --limit\n');
  if (compactedBelow !== undefined) {
    run.stderr.write(
      `compacted below revision ${compactedBelow}: of older versions there are only those that were kept\n`,
    );
  }
  return 0;
}

function described({ revision, by, message, isCurrent, isKept }: ConfigVersion) {
  return { revision, at: by?.since, by: by?.owner, message, isCurrent, isKept };
}

function textOf({ config }: Work, { text, revision }: ConfigVersion): string {
  if (text === undefined) throw new Error(`${config.key} at revision ${revision} is no text`);
  return text;
}

/** The text without secrets. Unless a format is named it is taken for what it looks like. */
async function shownText(work: Work, version: ConfigVersion, secrets: readonly string[]): Promise<string> {
  return (await textIn(work, version)).redactedText(work.config.key, textOf(work, version), version.revision, secrets);
}

async function shownValue(work: Work, version: ConfigVersion, secrets: readonly string[]): Promise<unknown> {
  const text = await textIn(work, version);
  return redacted(text.parse(work.config.key, textOf(work, version), version.revision), secrets);
}

async function textIn({ line, text }: Work, version: ConfigVersion): Promise<ConfigText<unknown>> {
  if (line.values.format !== undefined || isJson(version.text)) return text;
  return new ConfigText<unknown>({ format: await formatOf('yaml', undefined) });
}

function isJson(text: string | undefined): boolean {
  try {
    JSON.parse(text ?? '');
    return true;
  } catch {
    return false;
  }
}

async function readText({ stdin }: Run, file: string): Promise<string> {
  if (file !== '-') return readFile(file, 'utf8');
  const chunks: Buffer[] = [];
  for await (const chunk of stdin) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString('utf8');
}
