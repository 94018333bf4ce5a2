/** Which instances pass. */
import { describe, expect, it } from 'vitest';
import { type InstanceFilter, instanceFilter } from '../../../../recipes/services/discovery/filter.ts';
import type { Metadata, ServiceInstance } from '../../../../recipes/services/instance.ts';
import { instance } from './bed.ts';

const passes = (filter: InstanceFilter<Metadata>, more: Partial<ServiceInstance>): boolean =>
  instanceFilter(filter)(instance('a1', more));

describe('a filter', () => {
  it('lets all pass when it asks for nothing', () => {
    expect(passes({}, {})).toBe(true);
  });

  it('asks for all of its tags', () => {
    expect(passes({ tags: ['x', 'y'] }, { tags: ['y', 'z', 'x'] })).toBe(true);
    expect(passes({ tags: ['x', 'y'] }, { tags: ['x'] })).toBe(false);
  });

  it.each([
    ['1.4', '1.4', true],
    ['1.4', '1.4.2', true],
    ['1.4', '1.4-rc.1', true],
    ['1.4', '1.4+build', true],
    ['1.4', '1.40', false],
    ['1.4', '1.40.0', false],
    ['1.4.2', '1.4', false],
    ['1', '11', false],
    ['1', undefined, false],
  ])('for version %s takes %s: %s', (version, actual, expected) => {
    expect(passes({ version }, { version: actual })).toBe(expected);
  });

  it('knows zones and protocols', () => {
    expect(passes({ zones: ['a', 'b'] }, { zone: 'b' })).toBe(true);
    expect(passes({ zones: ['a', 'b'] }, { zone: 'c' })).toBe(false);
    expect(passes({ zones: ['a', 'b'] }, {})).toBe(false);
    expect(passes({ protocol: 'grpc' }, { protocol: 'grpc' })).toBe(true);
    expect(passes({ protocol: 'grpc' }, { protocol: 'http' })).toBe(false);
  });

  it('of a program’s own counts as false where it throws', () => {
    expect(passes({ match: ({ weight }) => weight === 1 }, {})).toBe(true);
    const throws = (): boolean => {
      throw new Error('x');
    };
    expect(passes({ match: throws }, {})).toBe(false);
  });

  it('without a version is refused when it says one', () => {
    expect(() => instanceFilter({ version: '' })).toThrow(/version/);
  });
});
