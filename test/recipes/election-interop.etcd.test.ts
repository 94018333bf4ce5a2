/** Elections beside etcdctl, and beside a leader whose event loop stood still. */
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { expect, it } from 'vitest';
import { Election } from '../../recipes/election/election.ts';
import { ElectionView } from '../../recipes/election/view.ts';
import { describeOnEtcd } from '../support/fixtures.ts';
import { expectProcessExits } from '../support/leaks.ts';
import { expectEmpty, Program, until, untilKeys } from './election-support.ts';

/** What an etcdctl prints, line by line. */
function linesOf(child: ChildProcessWithoutNullStreams): string[] {
  const lines: string[] = [];
  let rest = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    const parts = (rest + text).split('\n');
    rest = parts.pop() ?? '';
    lines.push(...parts);
  });
  return lines;
}

async function end(child: ChildProcessWithoutNullStreams, signal: NodeJS.Signals = 'SIGINT'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill(signal);
  await exited;
}

describeOnEtcd('elections and etcdctl', (suite) => {
  const newName = (): string => suite.prefix().slice(0, -1);

  it('wait for etcdctl elect, and lead when it resigns', async () => {
    await using a = await Program.start(suite);
    const name = newName();
    const theirs = suite.cluster.spawnEtcdctl(['elect', name, 'from-etcdctl']);
    const lines = linesOf(theirs);
    await until(() => lines.includes('from-etcdctl'));
    const election = new Election(a.session, name);
    expect(await election.leader()).toMatchObject({ kind: 'leader', value: 'from-etcdctl', key: lines[0] });
    await expect(election.campaign({ timeoutMs: 200 })).rejects.toMatchObject({ code: 'wait-timeout' });
    const ours = election.campaign({ value: 'ours' });
    await untilKeys(a.etcd, `${name}/`, 2);
    await end(theirs);
    const leader = await ours;
    expect(await election.leader()).toMatchObject({ value: 'ours', term: leader.term });
    await leader.resign();
    await expectEmpty(a.etcd, `${name}/`);
  });

  it('meet etcdctl elect under a name with a slash if that stands as it is', async () => {
    await using a = await Program.start(suite);
    const name = `${newName()}/head`;
    const theirs = suite.cluster.spawnEtcdctl(['elect', name, 'theirs']);
    await untilKeys(a.etcd, `${name}/`, 1);
    const election = new Election(a.session, name, { rawName: true });
    const ours = election.campaign({ value: 'ours' });
    await untilKeys(a.etcd, `${name}/`, 2);
    expect(await new ElectionView(a.etcd, name, { rawName: true }).leader()).toMatchObject({ value: 'theirs' });
    await end(theirs);
    await (await ours).resign();
    await expectEmpty(a.etcd, `${name}/`);
  });

  it('keep etcdctl elect waiting while they lead, and tell etcdctl elect -l what they stand for', async () => {
    await using a = await Program.start(suite);
    const name = newName();
    const leader = await new Election(a.session, name).campaign({ value: 'ours' });
    const listener = suite.cluster.spawnEtcdctl(['elect', '-l', name]);
    const heard = linesOf(listener);
    await until(() => heard.length >= 2);
    expect(heard.slice(0, 2)).toEqual([leader.key, 'ours']);
    await leader.proclaim('ours, again');
    await until(() => heard.includes('ours, again'));
    const theirs = suite.cluster.spawnEtcdctl(['elect', name, 'theirs']);
    const lines = linesOf(theirs);
    await untilKeys(a.etcd, `${name}/`, 2);
    const states = new ElectionView(a.etcd, name).observe();
    expect((await states.next()).value).toMatchObject({ value: 'ours, again' });
    expect(lines).toEqual([]);
    const candidates = await new ElectionView(a.etcd, name).candidates();
    expect(candidates.map(({ value }) => value)).toEqual(['ours, again', 'theirs']);
    await leader.resign();
    await until(() => lines.includes('theirs'));
    expect((await states.next()).value).toMatchObject({ kind: 'leader', value: 'theirs', key: lines[0] });
    await until(() => heard.includes('theirs'));
    await end(theirs);
    expect((await states.next()).value).toMatchObject({ kind: 'vacant' });
    await states.return(undefined);
    await end(listener);
    await expectEmpty(a.etcd, `${name}/`);
  });

  it.each([
    ['aborted', true],
    ['kv', 'session'],
    ['unfenced', 'written'],
  ])('a leader whose event loop stood still learns of it from %s, asked first', async (question, expected) => {
    await using b = await Program.start(suite);
    const name = newName();
    const script = path.join(import.meta.dirname, 'children', 'stalled-leader.ts');
    const running = expectProcessExits(script, [suite.cluster.members[0]!.address, name, '2500', question]);
    await untilKeys(b.etcd, `${name}/`, 1);
    const next = await new Election(b.session, name).campaign({ value: 'next' });
    await next.kv.put(`${name}-data`, 'fresh');
    const { stdout } = await running;
    expect(JSON.parse(stdout)).toBe(expected);
    // The negative control: what is not fenced does harm.
    expect((await b.etcd.get(`${name}-data`))!.value).toBe(question === 'unfenced' ? 'stale' : 'fresh');
    await next.resign();
    await expectEmpty(b.etcd, `${name}/`);
  });
});
