import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Feature, features, neededVersion, supports, unsupportedError } from '../../src/client/capabilities.ts';
import { compareVersions, parseVersion } from '../../src/client/version.ts';

describe('parseVersion', () => {
  it.each([
    ['3.5.30', 3, 5, 30, false],
    ['v3.5.30', 3, 5, 30, false],
    ['3.5', 3, 5, 0, false],
    ['3.6.0-rc.2', 3, 6, 0, true],
    ['3.8.0-alpha.0', 3, 8, 0, true],
    ['3.5.16+dfsg-1', 3, 5, 16, false],
  ])('reads %s', (text, major, minor, patch, prerelease) => {
    expect(parseVersion(text)).toEqual({ major, minor, patch, prerelease });
  });

  it.each(['', 'not provided', '3', '3.', '3.x.1', '3.5.30.1', '3.5.30 beta', '-3.5.0', '3.5.99999999'])(
    'finds none in %j',
    (text) => {
      expect(parseVersion(text)).toBeUndefined();
    },
  );

  it('orders by number, and a pre-release before its release', () => {
    const texts = ['3.4.9', '3.4.31', '3.5.0-rc.1', '3.5.0', '3.5.2', '3.5.10', '3.10.0', '4.0.0'];
    const versions = texts.map((text) => parseVersion(text)!);
    const shuffled = [...versions].reverse().sort(compareVersions);
    expect(shuffled).toEqual(versions);
  });
});

describe('supports', () => {
  it.each<[string, Feature, boolean]>([
    ['3.4.23', 'learners', true],
    ['3.3.27', 'learners', false],
    ['3.4.23', 'linearizableMemberList', false],
    ['3.5.0', 'linearizableMemberList', true],
    ['3.5.30', 'hashRevision', false],
    ['3.6.0', 'snapshotVersion', true],
    ['3.6.4', 'rangeStream', false],
    ['3.7.0', 'rangeStream', true],
    ['3.7.0-rc.0', 'rangeStream', false],
    ['3.8.0-alpha.0', 'rangeStream', true],
    // Carried back to release lines: a newer line is not enough on its own.
    ['3.4.30', 'orderedProgress', false],
    ['3.4.31', 'orderedProgress', true],
    ['3.5.0', 'orderedProgress', false],
    ['3.5.12', 'orderedProgress', false],
    ['3.5.13', 'orderedProgress', true],
    ['3.6.0', 'orderedProgress', true],
    ['3.7.2', 'orderedProgress', true],
    ['4.0.0', 'orderedProgress', true],
  ])('%s %s: %s', (version, feature, expected) => {
    expect(supports(version, feature)).toBe(expected);
  });

  it('takes what is not known for missing', () => {
    for (const feature of features) {
      expect(supports(undefined, feature)).toBe(false);
      expect(supports('', feature)).toBe(false);
      expect(supports('something else', feature)).toBe(false);
    }
  });

  it('never loses a feature to a higher patch of the same line', () => {
    const part = fc.integer({ min: 0, max: 40 });
    fc.assert(
      fc.property(fc.constantFrom(...features), part, part, part, (feature, minor, patch, more) => {
        if (supports(`3.${minor}.${patch}`, feature))
          expect(supports(`3.${minor}.${patch + more}`, feature)).toBe(true);
      }),
    );
  });
});

describe('unsupportedError', () => {
  it('names the feature, the version needed, the one found, and where', () => {
    const error = unsupportedError('orderedProgress', '3.5.12', { endpoint: '10.0.0.1:2379' });
    expect(error.code).toBe('unsupported');
    expect(error.message).toContain('orderedProgress');
    expect(error.message).toContain('3.4.31, 3.5.13 or 3.6');
    expect(error.message).toContain('3.5.12');
    expect(error.message).toContain('10.0.0.1:2379');
  });

  it('writes a minor version without its zero', () => {
    expect(neededVersion('rangeStream')).toBe('3.7');
  });
});
