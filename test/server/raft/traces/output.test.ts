import { describe, expect, it } from 'vitest';
import { levelNamed, Output } from './output.ts';

/** An output at that level. */
function output(level: string): Output {
  const made = new Output();
  made.level = levelNamed(level)!;
  return made;
}

describe('an output', () => {
  it('keeps log lines from its level on', () => {
    const warn = output('warn');
    warn.log('INFO', 'less');
    warn.log('WARN', 'as much');
    warn.log('ERROR', 'more');
    warn.write('said');
    expect(warn.take()).toBe('WARN as much\nERROR more\nsaid');
    expect(warn.take()).toBe('');
  });

  it('begins with all of them', () => {
    const fresh = new Output();
    fresh.log('DEBUG', 'x');
    expect(fresh.take()).toBe('DEBUG x\n');
  });

  it('keeps nothing at NONE', () => {
    const none = output('None');
    none.write('said');
    none.log('FATAL', 'x');
    none.indented(() => none.write('more'));
    expect(none.take()).toBe('');
  });

  it('indents what is written meanwhile, and ends its last line', () => {
    const all = output('debug');
    all.write('a\n');
    all.indented(() => {
      all.write('b\n\n');
      all.indented(() => all.write('c'));
    });
    all.indented(() => {});
    all.write('d');
    expect(all.take()).toBe('a\n  b\n  \n    c\nd');
  });

  it('is whole again after a failure', () => {
    const all = output('debug');
    const failing = (): void => {
      all.write('b\n');
      throw new Error('no');
    };
    expect(() => all.indented(failing)).toThrow('no');
    all.write('c');
    expect(all.take()).toBe('  b\nc');
  });
});
