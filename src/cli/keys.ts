/**
 * The commands `get`, `put`, `del` and `watch`, with the flags and the plain output of `etcdctl`.
 *
 * Plain output is bytes as they are, key and value in lines of their own, so that what is piped on is what is stored. JSON
 * tells text from bytes: what is not UTF-8 comes as base64 under another name.
 *
 * @module
 */
import { once } from 'node:events';
import { AbortError, type Etcd, type KeyValue, type LeaseId, type Revision, type Target } from '../index.ts';
import {
  type CommandContext,
  jsonText,
  type Run,
  readArgs,
  revisionNumber,
  runCommand,
  type Sink,
  UsageError,
  wholeNumber,
  words,
} from './command.ts';
import { CONNECTION_FLAGS, CONNECTION_USAGE, connect } from './connection.ts';

const KEYS = `KEY is one key; KEY END are those from KEY on and below END; with --prefix, those that begin with KEY, and with
an empty KEY all.`;

const GET_USAGE = `Usage: etcdkit get KEY [END] [flags]

${KEYS}

Flags:
  --prefix            all keys that begin with KEY
  --rev REVISION      as it was then
  --limit N           at most so many keys
  --keys-only         leave the values out
  --print-value-only  leave the keys out
  --count-only        just how many there are

${CONNECTION_USAGE}`;

const PUT_USAGE = `Usage: etcdkit put KEY [VALUE] [flags]

Without VALUE it is read from standard input.

Flags:
  --lease ID  the lease to hang it on, in hexadecimal

${CONNECTION_USAGE}`;

const DEL_USAGE = `Usage: etcdkit del KEY [END] [flags]

${KEYS} Prints how many were deleted.

Flags:
  --prefix  all keys that begin with KEY

${CONNECTION_USAGE}`;

const WATCH_USAGE = `Usage: etcdkit watch KEY [END] [flags]

${KEYS} Ends by a signal only: it goes on when members are lost, and over a compaction.

Flags:
  --prefix        all keys that begin with KEY
  --rev REVISION  begin with the changes at this revision

${CONNECTION_USAGE}`;

const text = { type: 'string' } as const;
const flag = { type: 'boolean' } as const;

/** Reads keys. @returns The exit status. */
export function runGet(context: CommandContext): Promise<number> {
  return runCommand(context, GET_USAGE, async (run) => {
    const { values, positionals } = readArgs(context.args, {
      ...CONNECTION_FLAGS,
      prefix: flag,
      rev: text,
      limit: text,
      'keys-only': flag,
      'print-value-only': flag,
      'count-only': flag,
    });
    if (values.help) return help(run, GET_USAGE);
    const target = targetOf(positionals, values.prefix);
    await using etcd = connect(values, run.environment);
    const options = {
      revision: values.rev === undefined ? undefined : (revisionNumber('rev', values.rev) as Revision),
      signal: run.signal,
    };
    if (values['count-only']) {
      run.stdout.write(`${await etcd.count(target, options)}\n`);
      return 0;
    }
    let left = values.limit === undefined ? Number.POSITIVE_INFINITY : wholeNumber('limit', values.limit, 1);
    for await (const kv of etcd.scan(target, { ...options, keysOnly: values['keys-only'] })) {
      if (left-- <= 0) break;
      if (values.json) await put(run.stdout, `${jsonText(kvJson(kv, !values['keys-only']))}\n`);
      else await putPlain(run.stdout, kv, !values['print-value-only'], !values['keys-only']);
    }
    return 0;
  });
}

/** Writes a key. @returns The exit status. */
export function runPut(context: CommandContext): Promise<number> {
  return runCommand(context, PUT_USAGE, async (run) => {
    const { values, positionals } = readArgs(context.args, { ...CONNECTION_FLAGS, lease: text });
    if (values.help) return help(run, PUT_USAGE);
    const [key = '', given] = words(positionals, ['KEY', 'VALUE'], 1);
    const lease = values.lease === undefined ? undefined : leaseOf(values.lease);
    const value = given ?? (await readAll(run.stdin));
    await using etcd = connect(values, run.environment);
    const { revision } = await etcd.put(key, value, { lease, signal: run.signal });
    run.stdout.write(values.json ? `${jsonText({ revision })}\n` : 'OK\n');
    return 0;
  });
}

/** Deletes keys. @returns The exit status. */
export function runDel(context: CommandContext): Promise<number> {
  return runCommand(context, DEL_USAGE, async (run) => {
    const { values, positionals } = readArgs(context.args, { ...CONNECTION_FLAGS, prefix: flag });
    if (values.help) return help(run, DEL_USAGE);
    const target = targetOf(positionals, values.prefix);
    await using etcd = connect(values, run.environment);
    const { deleted, revision } = await etcd.delete(target, { signal: run.signal });
    run.stdout.write(values.json ? `${jsonText({ deleted, revision })}\n` : `${deleted}\n`);
    return 0;
  });
}

/** Watches keys. @returns The exit status. */
export function runWatch(context: CommandContext): Promise<number> {
  return runCommand(context, WATCH_USAGE, async (run) => {
    const { values, positionals } = readArgs(context.args, { ...CONNECTION_FLAGS, prefix: flag, rev: text });
    if (values.help) return help(run, WATCH_USAGE);
    const target = targetOf(positionals, values.prefix);
    const from = values.rev === undefined ? undefined : (revisionNumber('rev', values.rev) as Revision);
    await using etcd = connect(values, run.environment);
    try {
      await watch(etcd, target, from, run, values.json ?? false);
    } catch (error) {
      if (!(error instanceof AbortError)) throw error;
    }
    return undefined;
  });
}

async function watch(etcd: Etcd, target: Target, from: Revision | undefined, run: Run, json: boolean): Promise<void> {
  // What was asked for from a revision on must not turn into something else when that is compacted: then it fails.
  const options = { from, signal: run.signal, resync: from === undefined };
  for await (const event of etcd.watch(target, options)) {
    if (event.type !== 'put' && event.type !== 'delete') continue;
    const { type, kv, revision } = event;
    if (json) {
      await put(run.stdout, `${jsonText({ type, revision, ...kvJson(kv, type === 'put') })}\n`);
    } else {
      await put(run.stdout, type === 'put' ? 'PUT\n' : 'DELETE\n');
      await putPlain(run.stdout, kv, true, type === 'put');
    }
  }
}

function targetOf(positionals: readonly string[], prefix: boolean | undefined): Target {
  const [key = '', end] = words(positionals, prefix ? ['KEY'] : ['KEY', 'END'], 1);
  if (prefix) return key === '' ? { all: true } : { prefix: key };
  if (positionals.length === 0 || (key === '' && end === undefined)) throw new UsageError('KEY is missing');
  return end === undefined ? key : { from: key, to: end };
}

function leaseOf(hexadecimal: string): LeaseId {
  if (!/^[0-9a-f]{1,16}$/i.test(hexadecimal)) throw new UsageError('--lease: the id of a lease, in hexadecimal');
  return BigInt.asIntN(64, BigInt(`0x${hexadecimal}`)) as LeaseId;
}

function help({ stdout }: Run, usage: string): number {
  stdout.write(usage);
  return 0;
}

async function readAll(input: AsyncIterable<Uint8Array | string>): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  for await (const chunk of input) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

/** Writes, and waits while the reader has no room. */
async function put(out: Sink, chunk: string | Uint8Array): Promise<void> {
  if (out.write(chunk) === false && out === process.stdout) await once(process.stdout, 'drain');
}

async function putPlain(out: Sink, kv: KeyValue<string>, hasKey: boolean, hasValue: boolean): Promise<void> {
  const newline = Buffer.from('\n');
  const lines = [...(hasKey ? [kv.keyBytes, newline] : []), ...(hasValue ? [kv.valueBytes, newline] : [])];
  await put(out, Buffer.concat(lines));
}

function kvJson(kv: KeyValue<string>, hasValue: boolean): Record<string, unknown> {
  const { createRevision, modRevision, version, lease } = kv;
  return {
    ...shown('key', kv.keyBytes),
    ...(hasValue && shown('value', kv.valueBytes)),
    ...{ createRevision, modRevision, version },
    ...(lease !== undefined && { lease: BigInt.asUintN(64, lease).toString(16) }),
  };
}

function shown(name: string, bytes: Uint8Array): Record<string, string> {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found = buffer.toString('utf8');
  return Buffer.from(found, 'utf8').equals(buffer)
    ? { [name]: found }
    : { [`${name}Base64`]: buffer.toString('base64') };
}
