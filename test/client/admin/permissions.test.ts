import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { toPermission, toPermissionRange, toTarget, toWirePermission } from '../../../src/client/admin/permissions.ts';

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

describe('toTarget', () => {
  it.each([
    ['a key', 'a', 'a'],
    ['a prefix', { prefix: 'users/' }, { prefix: 'users/' }],
    ['a range', { from: 'a', to: 'k' }, { from: 'a', to: 'k' }],
    ['an open range', { from: 'b' }, { from: 'b' }],
    ['everything', { all: true } as const, { all: true }],
    ['the empty prefix', { prefix: '' }, { all: true }],
    ['a key that is no text', bytes(0xff, 0x00), bytes(0xff, 0x00)],
  ])('gives back %s', (_, target, expected) => {
    const { key, rangeEnd } = toPermissionRange(target);
    expect(toTarget(key, rangeEnd)).toEqual(expected);
  });

  it('makes the very bytes again that it was made of', () => {
    const key = fc.uint8Array({ minLength: 1, maxLength: 5 });
    const end = fc.oneof(fc.constant(bytes()), fc.constant(bytes(0)), key);
    fc.assert(
      fc.property(key, end, (start, stop) => {
        const ordered = stop.length === 0 || (stop.length === 1 && stop[0] === 0) || Buffer.compare(start, stop) < 0;
        fc.pre(ordered);
        const again = toPermissionRange(toTarget(start, stop));
        expect([...again.key]).toEqual([...start]);
        expect([...again.rangeEnd]).toEqual([...stop]);
      }),
      { numRuns: 2_000 },
    );
  });

  it('knows the root role of etcd 3.6, which has an empty key', () => {
    expect(toPermission({ permType: 2, key: bytes(), rangeEnd: bytes(0) })).toEqual({
      permission: 'readwrite',
      target: { all: true },
    });
  });
});

describe('toWirePermission', () => {
  it('keeps the three kinds apart', () => {
    for (const permission of ['read', 'write', 'readwrite'] as const) {
      const { permType = 0, key = bytes(), rangeEnd = bytes() } = toWirePermission({ permission, target: 'k' });
      expect(toPermission({ permType, key, rangeEnd }).permission).toBe(permission);
    }
  });

  it('refuses what etcd would refuse or misread', () => {
    expect(() => toWirePermission({ permission: 'own' as 'read', target: 'k' })).toThrow(/read, write/);
    expect(() => toWirePermission({ permission: 'toString' as 'read', target: 'k' })).toThrow(/read, write/);
    expect(() => toPermissionRange({ from: 'k', to: 'k' })).toThrow(/empty/);
    expect(() => toPermissionRange({ from: 'k', to: 'a' })).toThrow(/empty/);
    expect(() => toPermissionRange('')).toThrow(/empty/);
  });
});
