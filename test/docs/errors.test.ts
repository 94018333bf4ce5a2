/** docs/errors.md knows every code, and the class that carries it. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import * as api from '../../src/index.ts';

const root = path.join(import.meta.dirname, '..', '..');
const read = (file: string): Promise<string> => readFile(path.join(root, file), 'utf8');

it('docs/errors.md has one row for each code, in order', async () => {
  const union = /export type ErrorCode =([^;]*);/.exec(await read('src/client/errors.ts'))?.[1] ?? '';
  const codes = [...union.matchAll(/'([a-z-]+)'/g)].map(([, code]) => code);
  expect(codes.length).toBeGreaterThan(15);
  const rows = [...(await read('docs/errors.md')).matchAll(/^\| `([a-z-]+)` \| `(\w+)` \|/gm)];
  expect(rows.map(([, code]) => code)).toEqual(codes);
  for (const [, , name = ''] of rows) {
    const exported = (api as Record<string, unknown>)[name];
    expect(exported === api.EtcdError || (exported as typeof Error)?.prototype instanceof api.EtcdError, name).toBe(
      true,
    );
  }
});
