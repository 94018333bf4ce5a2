import { expect, it } from 'vitest';
import { keyReader } from '../../../src/cli/cluster/keys.ts';

function heard(...texts: readonly string[]): string[] {
  const seen: string[] = [];
  const read = keyReader({
    toggle: (member) => seen.push(`toggle ${member}`),
    togglePause: (member) => seen.push(`pause ${member}`),
    moveLeader: () => seen.push('move'),
    quit: () => seen.push('quit'),
  });
  for (const text of texts) read(text);
  return seen;
}

it('does what the keys say', () => {
  expect(heard('1', 'l9\n', 'p', '2', '2', 'q')).toEqual([
    'toggle 1',
    'move',
    'toggle 9',
    'pause 2',
    'toggle 2',
    'quit',
  ]);
});

it('forgets a p that no number follows, and what means nothing', () => {
  expect(heard('px1', '0', 'z', '\n')).toEqual(['toggle 1']);
  expect(heard('\x03')).toEqual(['quit']);
  expect(heard('\x04')).toEqual(['quit']);
});
