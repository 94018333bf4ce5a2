import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { FLAGS, type FlagName } from '../../../src/server/cli/flags/index.ts';
import type { Flag } from '../../../src/server/cli/flags/kinds.ts';

const TITLE = '## Flags of etcd without effect here';

/** What stands in the first column of the tables: names, or beginnings of names. */
function documented(): { none: string[]; refused: string[] } {
  const text = readFileSync(path.join(import.meta.dirname, '..', '..', '..', 'docs', 'server.md'), 'utf8');
  const section = text.slice(text.indexOf(TITLE), text.indexOf('\n## ', text.indexOf(TITLE) + 1));
  const [none = '', refused = ''] = section.split('does not start');
  const names = (part: string): string[] =>
    part
      .split('\n')
      .flatMap((line) => [...(line.split('|')[1] ?? '').matchAll(/`([\w*-]+)`/g)].map(([, name = '']) => name));
  return { none: names(none), refused: names(refused) };
}

function withEffect(effect: Flag['effect']): FlagName[] {
  return (Object.keys(FLAGS) as FlagName[]).filter((name) => (FLAGS[name] as Flag).effect === effect);
}

function covers(pattern: string, name: string): boolean {
  return pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
}

describe('the document about flags', () => {
  it('names each that has no effect, or with which the server does not start', () => {
    const { none, refused } = documented();
    const missing = (patterns: string[], effect: Flag['effect']): string[] =>
      withEffect(effect).filter((name) => !patterns.some((pattern) => covers(pattern, name)));
    expect(missing(none, 'none')).toEqual([]);
    expect(missing(refused, 'refused')).toEqual([]);
  });

  it('names no other', () => {
    const { none, refused } = documented();
    expect(none.length + refused.length).toBeGreaterThan(30);
    const strays = (patterns: string[], effect: Flag['effect']): string[] =>
      patterns.filter((pattern) => !withEffect(effect).some((name) => covers(pattern, name)));
    expect(strays(none, 'none')).toEqual([]);
    expect(strays(refused, 'refused')).toEqual([]);
  });
});
