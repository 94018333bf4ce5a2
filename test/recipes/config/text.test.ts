/** What may be seen of a value, and which instances a share is. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as z from 'zod';
import { ConfigError } from '../../../recipes/config/errors.ts';
import { isAmong } from '../../../recipes/config/share.ts';
import { ConfigText, redacted } from '../../../recipes/config/text.ts';

describe('redaction', () => {
  it('hides places, by names, indexes and stars', () => {
    const value = { db: { host: 'h', password: 'p' }, users: [{ name: 'a', token: 't' }], keys: { x: 1, y: 2 } };
    expect(redacted(value, ['db.password', 'users.*.token', 'keys.*', 'absent.too'])).toEqual({
      db: { host: 'h', password: '***' },
      users: [{ name: 'a', token: '***' }],
      keys: { x: '***', y: '***' },
    });
    expect(value.db.password).toBe('p');
    expect(redacted('all of it', [''])).toBe('***');
  });

  it('leaves no trace of a secret, wherever it is', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 5 }), (path) => {
        const value = path.reduceRight<unknown>((inner, name) => ({ [name]: inner, other: 1 }), 's3cret');
        expect(JSON.stringify(redacted(value, [path.join('.')]))).not.toContain('s3cret');
        expect(JSON.stringify(redacted(value, [path.map(() => '*').join('.')]))).not.toContain('s3cret');
      }),
    );
  });

  it('keeps a text as it is when nothing is secret', () => {
    const text = new ConfigText({});
    expect(text.redactedText('k', '{ "a":1 }')).toBe('{ "a":1 }');
    expect(JSON.parse(text.redactedText('k', '{ "a":1 }', undefined, ['a']))).toEqual({ a: '***' });
  });
});

describe('texts', () => {
  it('are refused when what is written is not what is read', () => {
    const text = new ConfigText({ schema: z.object({ at: z.date() }) });
    expect(() => text.write('k', { at: new Date(0) })).toThrow(ConfigError);
  });

  it('are read by a schema that transforms, and written in its terms', () => {
    const text = new ConfigText({ schema: z.object({ names: z.string().transform((names) => names.split(',')) }) });
    expect(text.read('k', text.write('k', { names: 'a,b' }))).toEqual({ names: ['a', 'b'] });
  });

  it('say nothing of what a schema says, also when it throws', () => {
    const throwing = {
      '~standard': {
        version: 1,
        vendor: 'x',
        validate: () => {
          throw new Error('s3cret');
        },
      },
    } as const;
    const error = (() => {
      try {
        return new ConfigText({ schema: throwing }).read('k', '1');
      } catch (thrown) {
        return thrown;
      }
    })();
    expect(error).toBeInstanceOf(ConfigError);
    expect(`${String(error)}${JSON.stringify(error)}`).not.toContain('s3cret');
  });
});

describe('a share', () => {
  const instances = Array.from({ length: 2_000 }, (_, at) => `instance-${at}`);

  it('is about as large as it says, and nobody or everybody at its ends', () => {
    const among = (share: number): number => instances.filter((instance) => isAmong(share, 'k', instance)).length;
    expect([among(0), among(100)]).toEqual([0, 2_000]);
    // Always the same ones, so this is no matter of luck.
    expect(among(10)).toBeGreaterThan(150);
    expect(among(10)).toBeLessThan(250);
  });

  it('takes nobody out when it grows, and takes others for other keys', () => {
    const at = (share: number, key: string) => instances.filter((instance) => isAmong(share, key, instance));
    expect(at(20, 'k')).toEqual(expect.arrayContaining(at(10, 'k')));
    expect(at(10, 'other')).not.toEqual(at(10, 'k'));
  });
});
