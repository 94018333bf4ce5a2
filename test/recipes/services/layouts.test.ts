/** What is stored, and what becomes of what others have stored. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { goLayout } from '../../../recipes/services/go-layout.ts';
import type { ServiceInstance } from '../../../recipes/services/instance.ts';
import { jsonLayout } from '../../../recipes/services/json-layout.ts';
import { ServiceRegistry } from '../../../recipes/services/service-registry.ts';
import { Etcd, InvalidArgumentError } from '../../../src/index.ts';

const INSTANCE: ServiceInstance = {
  name: 'eu/orders',
  id: 'a',
  address: '10.0.0.7',
  port: 8080,
  ports: { metrics: 9090 },
  protocol: 'grpc',
  tags: ['blue'],
  version: '1.2.3',
  weight: 2.5,
  zone: 'a',
  metadata: { build: '7' },
  status: 'draining',
  registeredAtMs: 1_700_000_000_000,
};
const OWNER = { owner: 'me', host: 'h', pid: 1, since: 'now' };
const record = (instance: ServiceInstance) => ({ instance, nonce: 'n', owner: OWNER });
const text = (value: unknown): Uint8Array => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));

it('is no layout that there is not', async () => {
  await using etcd = new Etcd({ endpoints: '127.0.0.1:1' });
  expect(() => new ServiceRegistry(etcd, { layout: 'xml' as 'json' })).toThrow(InvalidArgumentError);
});

describe.each([
  ['ours', jsonLayout()],
  ["Go's", goLayout()],
])('the layout: %s', (_name, layout) => {
  it('gives back what was stored', () => {
    const plain: ServiceInstance = {
      ...INSTANCE,
      ports: {},
      tags: [],
      weight: 1,
      zone: undefined,
      version: undefined,
      protocol: undefined,
      metadata: {},
      status: 'up',
    };
    for (const instance of [INSTANCE, plain, { ...INSTANCE, address: '2001:db8::7' }]) {
      const key = layout.keyOf(instance.name, instance.id);
      expect(key.startsWith(layout.prefixOf(instance.name))).toBe(true);
      expect(layout.decode(key, layout.encode(record(instance)), instance.name)).toEqual(record(instance));
    }
  });

  it('has a problem, and no exception, with everything else', () => {
    const key = layout.keyOf('orders', 'a');
    for (const bad of ['', 'secret', '"secret"', '[]', 'null', '{}', Buffer.from([0xff])]) {
      const decoded = layout.decode(key, Buffer.from(bad));
      expect(decoded.problem).toMatch(/^\S/);
      expect(decoded.problem).not.toMatch(/secret/);
    }
    expect(layout.decode('elsewhere', layout.encode(record(INSTANCE))).problem).toMatch(/key/);
    fc.assert(
      fc.property(fc.json(), (json) => {
        const decoded = layout.decode(key, text(json));
        expect(decoded.problem).toBeTypeOf('string');
      }),
    );
  });

  it('refuses empty names', () => {
    expect(() => layout.keyOf('', 'a')).toThrow(/name/);
    expect(() => layout.keyOf('a', '')).toThrow(/id/);
  });
});

describe('our layout', () => {
  const layout = jsonLayout();

  it('keeps services apart whose names begin alike', () => {
    expect(layout.prefixOf('foo')).toBe('services/foo/');
    expect(layout.keyOf('foo_other', 'a').startsWith(layout.prefixOf('foo'))).toBe(false);
    expect(layout.keyOf('foo/bar', 'a').startsWith(layout.prefixOf('foo'))).toBe(false);
  });

  it('finds name and id again, whatever they are', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1 }), fc.string({ minLength: 1 }), (name, id) => {
        expect(layout.locate(layout.keyOf(name, id))).toEqual({ name, id });
      }),
    );
    for (const key of [
      'services/',
      'services/a',
      'services//a',
      'services/a/',
      'services/a/b/c',
      'services/a%/b',
      'x/a/b',
    ]) {
      expect(layout.locate(key)).toBeUndefined();
    }
  });

  it('takes an entry that was written by hand, and ignores what it does not know', () => {
    const decoded = layout.decode('services/orders/b', text({ address: 'host', port: 80, colour: 'red' }));
    expect(decoded).toEqual({
      instance: {
        name: 'orders',
        id: 'b',
        address: 'host',
        port: 80,
        ports: {},
        protocol: undefined,
        tags: [],
        version: undefined,
        weight: 1,
        zone: undefined,
        metadata: {},
        status: 'up',
        registeredAtMs: 0,
      },
      nonce: undefined,
      owner: undefined,
    });
  });

  it.each([
    ['address', { address: 7 }],
    ['address', { address: 'evil/path' }],
    ['port', { port: '80' }],
    ['ports', { ports: [80] }],
    ['tags', { tags: 'blue' }],
    ['weight', { weight: -1 }],
    ['zone', { zone: 3 }],
    ['status', { status: 'secret' }],
  ])('names the field that is wrong: %s', (field, wrong) => {
    const { problem } = layout.decode('services/orders/b', text({ address: 'host', port: 80, ...wrong }));
    expect(problem).toMatch(new RegExp(field));
    expect(problem).not.toMatch(/secret|evil/);
  });

  it('reads metadata by their schema, and without one as texts', () => {
    const typed = jsonLayout({ metadata: z.object({ shard: z.number() }) });
    const entry = { address: 'host', port: 80 };
    const good = typed.decode('services/a/b', text({ ...entry, metadata: { shard: 3 } }));
    expect(good.problem).toBeUndefined();
    const bad = typed.decode('services/a/b', text({ ...entry, metadata: { shard: 'secret' } }));
    expect(bad.problem).toMatch(/schema: shard$/);
    const texts = layout.decode('services/a/b', text({ ...entry, metadata: { shard: 3, name: 'x' } }));
    expect(texts.problem === undefined && texts.instance.metadata).toEqual({ shard: '3', name: 'x' });
  });
});

describe("Go's layout", () => {
  const layout = goLayout();
  const decode = (value: unknown, key = 'orders/a') => layout.decode(key, text(value));

  it('is the one that naming/endpoints reads and writes', () => {
    const stored = JSON.parse(Buffer.from(layout.encode(record(INSTANCE))).toString());
    expect(layout.keyOf('eu/orders', 'a')).toBe('eu/orders/a');
    expect(stored).toMatchObject({ Op: 0, Addr: '10.0.0.7:8080', Metadata: { build: '7' } });
    expect(Object.keys(stored)).toEqual(['Op', 'Addr', 'Metadata']);
    const v6 = JSON.parse(Buffer.from(layout.encode(record({ ...INSTANCE, address: '::1' }))).toString());
    expect(v6.Addr).toBe('[::1]:8080');
  });

  it("reads what Go's own instances write", () => {
    const bare = decode({ Op: 0, Addr: '10.0.0.9:80', Metadata: null });
    expect(bare).toMatchObject({
      instance: { name: 'orders', id: 'a', address: '10.0.0.9', port: 80, status: 'up', metadata: {} },
      nonce: undefined,
    });
    expect(decode({ Op: 0, Addr: 'host:80', Metadata: { zone: 'b', n: 1 } })).toMatchObject({
      instance: { metadata: { zone: 'b', n: '1' }, zone: undefined },
    });
    expect(decode({ Addr: '[fe80::1]:80' })).toMatchObject({ instance: { address: 'fe80::1', port: 80 } });
    expect(decode({ Op: 0, Addr: 'host:80', Metadata: 'a text' })).toMatchObject({ instance: { metadata: {} } });
  });

  it.each(['', 'host', 'host:', ':80', 'host:0', 'host:65536', '::1:80', 'http://host:80', 'host:80/path', 7])(
    'has a problem with the Addr %o',
    (Addr) => expect(decode({ Op: 0, Addr }).problem).toMatch(/^Addr is not host:port$/),
  );

  it('takes the target that it is told, as Go does, and otherwise all but the last part', () => {
    expect(layout.locate('a/b/c')).toEqual({ name: 'a/b', id: 'c' });
    expect(layout.locate('a/b/c', 'a')).toEqual({ name: 'a', id: 'b/c' });
    expect(layout.locate('ab/c', 'a')).toBeUndefined();
    expect(layout.locate('a/', 'a')).toBeUndefined();
    expect(layout.locate('a')).toBeUndefined();
    expect(() => layout.keyOf('a', 'b/c')).toThrow(/slash/);
  });

  it('carries metadata of any shape', () => {
    const typed = goLayout({ metadata: z.union([z.number(), z.object({ etcdkit: z.string() })]) });
    for (const metadata of [5, { etcdkit: 'mine' }]) {
      const bytes = typed.encode({ instance: { ...INSTANCE, metadata }, nonce: 'n', owner: OWNER });
      expect(typed.decode('eu/orders/a', bytes)).toMatchObject({ instance: { metadata, weight: 2.5 } });
    }
  });
});
