/** etcdctl's put, get, del, txn, watch and compaction print the same on the bundled server as on etcd. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RangeResponse } from '../../../src/protocol/generated/etcdserverpb.ts';
import { versions } from '../../support/fixtures.ts';
import { Pair, type Running } from './pair.ts';

describe.each(versions)('etcdctl %s', (version) => {
  let pair: Pair;
  const good = (line: string, input?: string): Promise<string> => pair.good(line, { input });

  beforeAll(async () => {
    pair = await Pair.start(version);
  });
  afterAll(async () => {
    await pair?.[Symbol.asyncDispose]();
  });

  it('puts', async () => {
    expect(await good('put a 1')).toBe('OK\n');
    await good('put a 2 --prev-kv');
    await good('put a 3 --prev-kv -w json');
    await good('put a 4 -w fields --prev-kv');
    await good('put a 4 --hex --prev-kv');
    await good('put from-input', 'several\nlines');
    await pair.naming('lease', 'lease grant 600', /lease ([0-9a-f]+) granted/);
    await good('put a 5 --lease={lease}');
    await good('put a 6 --ignore-lease');
    await good('put a --ignore-value');
    await good('get a -w json');
    expect(await pair.bad('put none --ignore-value')).toContain('key not found');
    expect(await pair.bad('put none 1 --ignore-lease')).toContain('key not found');
    expect(await pair.bad('put none 1 --lease=7b')).toContain('requested lease not found');
    await pair.bad('put a 1 --ignore-value');
    await pair.same(['put', '', 'x']);
    await pair.same(['put', 'big', 'x'.repeat(100_000)]);
    expect(await pair.bad('put big', { input: 'x'.repeat(1_600_000) })).toContain('request is too large');
    expect(await pair.bad('put big', { input: 'x'.repeat(2_100_000) })).toMatch(/larger than max|too large/);
  });

  it('gets', async () => {
    for (const [key, value] of Object.entries({ g1: 'c', g2: 'a', g3: 'b', 'g/x': 'grün', h: '' })) {
      await pair.same(['put', key, value]);
    }
    await good('put g2 again');
    await good('put g1 z');
    for (const flags of [
      'get g1',
      'get g1 h',
      'get g --prefix',
      'get g2 --from-key',
      'get g --prefix --limit=2',
      'get g --prefix --limit=2 -w json',
      'get g --prefix --order=DESCEND',
      'get g --prefix --order=ASCEND --sort-by=VALUE',
      'get g --prefix --order=DESCEND --sort-by=VERSION --limit=1',
      'get g --prefix --order=DESCEND --sort-by=CREATE',
      'get g --prefix --sort-by=MODIFY',
      'get g --prefix --sort-by=KEY --limit=3',
      'get g --prefix --keys-only',
      'get g --prefix --keys-only -w json',
      'get g --prefix --print-value-only',
      'get g --prefix -w json --hex',
      'get g --prefix --hex',
      'get g --prefix -w fields',
      'get g --prefix --consistency=s',
      'get none',
      'get none -w json',
      'get none -w fields',
    ]) {
      await good(flags);
    }
    await pair.same(['get', '', '--prefix', '--keys-only']);
    await pair.same(['get', '', '--from-key', '-w', 'json']);
    // 3.4 does not have it, 3.5 for one format.
    await pair.same(['get', 'g', '--prefix', '--count-only']);
    await pair.same(['get', 'g', '--prefix', '--count-only', '-w', 'fields']);
    await pair.bad('get g -w table');
    await pair.bad('get g --order=SIDEWAYS');
    await pair.bad('get g --prefix --from-key');
    await pair.same(['get', '']);
  });

  it('gets what was', async () => {
    const { header } = JSON.parse(await good('put past 1 -w json')) as { header: { revision: number } };
    await good('put past 2');
    await good('del past');
    expect(await good(`get past --rev=${header.revision} --print-value-only`)).toBe('1\n');
    await good(`get past --rev=${header.revision + 1} -w json`);
    await good(`get past --rev=${header.revision + 2} -w json`);
    expect(await pair.bad('get past --rev=100000')).toContain('future revision');
  });

  it('prints protobuf', async () => {
    await good('put proto 1');
    const [real, ours] = await Promise.all(
      [pair.real, pair.ours].map(async (side) => {
        const { raw } = await side.run(['get', 'proto', '-w', 'protobuf']);
        const { header, ...rest } = RangeResponse.decode(Buffer.from(raw, 'latin1'));
        return { ...rest, revision: header?.revision };
      }),
    );
    expect(ours).toEqual(real);
    expect(ours).toMatchObject({ count: 1n });
  });

  it('deletes', async () => {
    for (const key of ['d1', 'd2', 'd3', 'd4', 'e1', 'e2']) await good(`put ${key} ${key}`);
    expect(await good('del d1')).toBe('1\n');
    await good('del d1');
    await good('del d2 --prev-kv');
    await good('del d3 --prev-kv -w json');
    await good('del d --prefix -w fields --prev-kv');
    await good('del e1 e2 -w json');
    await good('del z --from-key');
    await pair.same(['del', '']);
    await pair.same(['del', 'no', 'thing', 'more']);
    await good('get a --from-key --keys-only');
  });

  it('runs transactions', async () => {
    await good('put t1 1');
    for (const input of [
      'value("t1") = "1"\n\nput t2 yes\nget t1\ndel none\n\nput t2 no\n\n',
      'value("t1") = "2"\n\nput t2 yes\n\nget t1\nget t2\n\n',
      'version("t1") > "0"\nmod("t1") > "1"\ncreate("t1") != "0"\n\nget t --prefix\n\n\n',
      'ver("none") = "0"\n\nput none "a b"\n\nget none\n\n',
      'mod("none") < "1"\n\ndel t --prefix\n\n\n',
      'value("none") < "b"\n\ndel none --prev-kv\n\n\n',
      '\n\n\n',
      '\nput t9 1\nput t9 2\n\n\n',
      '\nget t9 --rev=100000\n\n\n',
    ]) {
      await pair.same(['txn'], { input });
      await pair.same(['txn', '-w', 'json'], { input });
      await pair.same(['txn', '-w', 'fields'], { input });
      await pair.same(['txn', '--hex'], { input });
    }
    await pair.same(['txn', '-i'], { input: 'value("t1") = "1"\n\nput t2 yes\n\nput t2 no\n\n' });
    await good('get t --prefix -w json');
    await pair.bad('txn', { input: 'what?\n\n\n\n' });
  });

  it('compacts', async () => {
    for (let i = 0; i < 5; i += 1) await good(`put c ${i}`);
    const { header } = JSON.parse(await good('put c 5 -w json')) as { header: { revision: number } };
    expect(await good(`compaction ${header.revision - 3}`)).toBe(`compacted revision ${header.revision - 3}\n`);
    await good(`compact ${header.revision - 1} --physical`);
    expect(await pair.bad(`compaction ${header.revision - 1}`)).toContain('has been compacted');
    expect(await pair.bad('compaction 100000')).toContain('future revision');
    await pair.bad('compaction never');
    expect(await pair.bad(`get c --rev=${header.revision - 2}`)).toContain('has been compacted');
    await good(`get c --rev=${header.revision - 1}`);
  });

  interface Watched {
    /** What to do while they are on. The first is waited for, so that the others are seen as they come. */
    readonly acts?: readonly string[];
    /** The very end of what is printed. */
    readonly last: string | RegExp;
    readonly env?: Readonly<Record<string, string>>;
    readonly input?: string;
  }

  /** A watch on both sides, stopped when it has printed all. */
  async function watched(words: readonly string[], { acts = [], last, env, input }: Watched): Promise<string> {
    const texts: string[] = [];
    for (const side of [pair.real, pair.ours]) {
      await using tool: Running = side.start(words, env);
      if (input !== undefined) tool.child.stdin?.write(input);
      for (const [i, act] of acts.entries()) {
        await side.run(act.split(' '));
        if (i === 0) await tool.printed('live\n1\n');
      }
      await tool.printed(last);
      await tool.stop();
      texts.push(side.plain(tool.stdout));
    }
    expect(texts[1], words.join(' ')).toBe(texts[0]);
    return texts[1] as string;
  }

  /** From what comes next on, the same revision on both sides. */
  async function next(): Promise<string> {
    const { header } = JSON.parse(await good('get none -w json')) as { header: { revision: number } };
    return `--rev=${header.revision + 1}`;
  }

  it('watches', async () => {
    const { header } = JSON.parse(await good('put w1 old -w json')) as { header: { revision: number } };
    const rev = `--rev=${header.revision}`;
    await good('put w1 new');
    await good('put w2 other');
    await good('del w1');
    await good('put wend 1');
    await watched(['watch', 'w1', rev], { last: 'DELETE\nw1\n\n' });
    await watched(['watch', 'w', '--prefix', rev], { last: 'wend\n1\n' });
    await watched(['watch', 'w', 'x', rev, '--prev-kv'], { last: 'wend\n1\n' });
    await watched(['watch', 'w', '--prefix', '--hex', rev], { last: '\\x6e\\x64\n\\x31\n' });
    await watched(['watch', 'w', '--prefix', rev, '--prev-kv', '-w', 'fields'], { last: /"wend"[\s\S]*"Lease" : 0\n/ });
    const acts = ['put live 1', 'put live 2', 'del live', 'put live end'];
    const last = 'live\nend\n';
    await watched(['watch', 'live', await next()], { acts, last });
    await watched(['watch', 'live', '--prev-kv', await next()], { acts, last });
    // 3.4 does not have it.
    if (version !== '3.4') await watched(['watch', 'live', '--progress-notify', await next()], { acts, last });
    const print = 'echo "$ETCD_WATCH_REVISION $ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY $ETCD_WATCH_VALUE"';
    const exec = ['--', 'sh', '-c', print];
    const printed = { acts, last: '"live" "end"\n' };
    expect(await watched(['watch', 'live', await next(), ...exec], printed)).toContain('"PUT" "live" "end"');
    await watched(['watch', await next(), ...exec], { ...printed, env: { ETCDCTL_WATCH_KEY: 'live' } });
    await watched(['watch', '-i'], { acts, last, input: `watch live ${await next()}\nwatch other --prefix\n` });
  });

  it('is told that what it wants to watch was compacted', async () => {
    expect(await pair.bad('watch c --rev=2')).toContain('required revision has been compacted');
  });
});
