/** Names of keys, and what is written into them. */
import { expect, it } from 'vitest';
import { isParticipant, ownerText, parseOwner, participantKey, recipePrefix } from '../../recipes/names.ts';
import { requestReader, withRequest } from '../../recipes/release-requests.ts';
import { type KeyValue, leaseId } from '../../src/index.ts';

const kv = (key: string, lease: bigint | undefined): KeyValue<string> =>
  ({ key, lease }) as unknown as KeyValue<string>;

it('never lets one name be the beginning of another', () => {
  expect(recipePrefix('a')).toBe('a/');
  expect(recipePrefix('a/b')).toBe('a%2Fb/');
  expect(recipePrefix('a%2Fb')).toBe('a%252Fb/');
  expect(() => recipePrefix('')).toThrow(/empty/);
  expect(() => recipePrefix(7 as never)).toThrow(/no string/);
});

it('tells places in a queue from keys that strayed there', () => {
  const own = participantKey('orders/', leaseId(-7n));
  expect(own).toMatch(/^orders\/fffffffffffffff9-[0-9a-f]{12}$/);
  for (const key of [own, 'orders/694d7c1a2b3c4d5e', 'orders/-7', participantKey('orders/', leaseId(5n))]) {
    expect([key, isParticipant(kv(key, 7n), 'orders/')]).toEqual([key, true]);
    expect(isParticipant(kv(key, undefined), 'orders/')).toBe(false);
  }
  for (const key of [
    'orders/',
    'orders/last',
    'orders/b/5d',
    'orders/5d/',
    'orders/5d-',
    'orders/5d-xyz',
    'other/5d',
    'orders/5d 6',
  ]) {
    expect([key, isParticipant(kv(key, 7n), 'orders/')]).toEqual([key, false]);
  }
});

it('says who it is, and reads what others say', () => {
  const owner = parseOwner(ownerText('alice'));
  expect(owner).toMatchObject({ owner: 'alice', pid: process.pid });
  expect(parseOwner(ownerText(undefined))?.owner).toContain(String(process.pid));
  for (const text of ['', 'x', 'null', '[]', '{}', '7']) expect(parseOwner(text)).toBeUndefined();
});

it('asks only who listens, keeps the latest requests, and tells each once', () => {
  expect(withRequest('', 'bob', undefined)).toBeUndefined();
  expect(withRequest(ownerText('alice'), 'bob', undefined)).toBeUndefined();
  let value = ownerText('alice', { listens: true });
  const heard: (string | undefined)[] = [];
  const read = requestReader(({ by, reason }) => heard.push(`${by.owner}: ${reason}`));
  for (let round = 0; round < 20; round++) {
    value = withRequest(value, 'bob', `round ${round}`) ?? '';
    read(value);
    read(value);
  }
  expect(heard).toEqual(Array.from({ length: 20 }, (_, round) => `bob: round ${round}`));
  expect(value.length).toBeLessThan(2_500);
  expect(parseOwner(value)?.owner).toBe('alice');
  for (const broken of ['', '{', '{"requests":7}', '{"requests":[null,1,{}]}']) read(broken);
  expect(heard).toHaveLength(20);
});

it('a listener that throws changes nothing, and is shown as a warning', async () => {
  const warned = new Promise<Error>((resolve) => process.once('warning', resolve));
  const read = requestReader(() => {
    throw new Error('a bug of the program');
  });
  read(withRequest(ownerText('alice', { listens: true }), 'bob', undefined) ?? '');
  expect((await warned).message).toBe('a bug of the program');
});
