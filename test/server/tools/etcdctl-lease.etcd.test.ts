/** etcdctl's lease, lock and elect on the bundled server, beside the same on etcd. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { versions } from '../../support/fixtures.ts';
import { Pair } from './pair.ts';

const GRANTED = /lease ([0-9a-f]+) granted/;

describe.each(versions)('etcdctl %s', (version) => {
  let pair: Pair;

  beforeAll(async () => {
    pair = await Pair.start(version);
  });
  afterAll(async () => {
    await pair?.[Symbol.asyncDispose]();
  });

  it('grants leases, tells what is left of them, and revokes them', async () => {
    await pair.good('lease list');
    await pair.naming('long', 'lease grant 5000', GRANTED);
    await pair.good('put hangs/1 x --lease={long}');
    await pair.good('put hangs/2 x --lease={long}');
    for (const format of ['simple', 'json', 'fields', 'table']) {
      await pair.same(['lease', 'list', '-w', format]);
    }
    // A second may pass between the two sides.
    for (const side of [pair.real, pair.ours]) {
      const { stdout } = await side.run(['lease', 'timetolive', '{long}', '--keys']);
      // The keys are in no order.
      expect(side.plain(stdout).replace('[hangs/2 hangs/1]', '[hangs/1 hangs/2]')).toMatch(
        /^lease <long> granted with TTL\(5000s\), remaining\(\d+s\), attached keys\(\[hangs\/1 hangs\/2\]\)\n$/,
      );
      const json = await side.run(['lease', 'timetolive', '{long}', '-w', 'json']);
      expect(JSON.parse(json.stdout)).toMatchObject({ 'granted-ttl': 5000 });
    }
    expect(await pair.good('lease keep-alive --once {long}')).toMatch(/keepalived with TTL\(5000\)/);
    await pair.good('lease keep-alive --once {long} -w json');
    expect(await pair.good('lease revoke {long}')).toMatch(/^lease \w+ revoked\n$/);
    await pair.good('get hangs --prefix');
    await pair.good('lease timetolive {long}');
    await pair.same(['lease', 'timetolive', '{long}', '--keys', '-w', 'json']);
    expect(await pair.bad('lease revoke {long}')).toContain('requested lease not found');
    await pair.same(['lease', 'keep-alive', '--once', '{long}']);
    await pair.same(['lease', 'keep-alive', '{long}']);
    await pair.bad('lease grant forever');
    expect(await pair.bad('lease grant 9000000001')).toContain('too large lease TTL');
    // What is too short is made as long as must be.
    await pair.naming('short', 'lease grant -- -5', GRANTED);
  });

  it('keeps a lease alive for as long as it runs', async () => {
    for (const side of [pair.real, pair.ours]) {
      const id = GRANTED.exec((await side.run(['lease', 'grant', '1'])).stdout)?.[1] as string;
      await side.run(['put', 'kept', 'x', `--lease=${id}`]);
      await using alive = side.start(['lease', 'keep-alive', id]);
      await alive.printed(`lease ${id} keepalived with TTL(1)\n`, 5);
      expect((await side.run(['get', 'kept'])).stdout).toBe('kept\nx\n');
      await alive.stop('SIGKILL');
      await using watch = side.start(['watch', 'kept', '--rev=1']);
      await watch.printed('DELETE\nkept\n');
    }
  });

  it('locks: one runs its command, the next waits for it, or for its end', async () => {
    for (const side of [pair.real, pair.ours]) {
      const ran = await side.run(['lock', 'l1', '--', 'sh', '-c', 'echo "$ETCD_LOCK_KEY $ETCD_LOCK_REV"; exit 3']);
      expect(ran.stdout).toMatch(/^l1\/[0-9a-f]+ \d+\n$/);
      expect(ran.code).toBe(version === '3.4' ? 1 : 3);
      await using first = side.start(['lock', 'l1']);
      await first.printed('l1/');
      await using second = side.start(['lock', 'l1', 'echo', 'mine']);
      await waiting(side, 'l1', 2);
      expect(second.stdout).toBe('');
      await first.stop();
      await second.printed('mine');
      expect(await second.ended).toBe(0);
      // A holder that is killed has it until its lease ends.
      await using killed = side.start(['lock', 'l1', '--ttl=1']);
      await killed.printed('l1/');
      await using heir = side.start(['lock', 'l1', 'echo', 'inherited']);
      await waiting(side, 'l1', 2);
      await killed.stop('SIGKILL');
      await heir.printed('inherited');
      expect(await heir.ended).toBe(0);
      await waiting(side, 'l1', 0);
    }
  });

  it('elects: listeners hear of each leader, who resigns when it ends', async () => {
    for (const side of [pair.real, pair.ours]) {
      await using listener = side.start(['elect', '--listen', 'e1']);
      await using first = side.start(['elect', 'e1', 'ann']);
      await first.printed('\nann\n');
      await listener.printed('\nann\n');
      await using second = side.start(['elect', 'e1', 'bob']);
      await waiting(side, 'e1', 2);
      expect(second.stdout).toBe('');
      await first.stop();
      await second.printed('\nbob\n');
      await listener.printed('\nbob\n');
      await second.stop();
      await waiting(side, 'e1', 0);
      await listener.stop();
      expect(listener.stdout).toMatch(/^e1\/\w+\nann\ne1\/\w+\nbob\n$/);
    }
  });

  /** Waits until so many keys are below a lock or an election. */
  async function waiting(side: Pair['ours'], name: string, count: number): Promise<void> {
    for (;;) {
      const { stdout } = await side.run(['get', `${name}/`, '--prefix', '--keys-only']);
      if (stdout.split('\n').filter(Boolean).length === count) return;
    }
  }
});
