import { describe, expect, it } from 'vitest';
import { checkedSignal } from '../../../src/client/lease/checked-signal.ts';
import { onAbort } from '../../../src/support/signals.ts';

function overdue(): AbortSignal {
  let fired = false;
  const checked = checkedSignal(() => {
    if (fired) return;
    fired = true;
    checked.abort(new Error('over'));
  });
  return checked.signal;
}

describe('a checked signal', () => {
  it('looks before each answer', () => {
    expect(overdue().aborted).toBe(true);
    expect((overdue().reason as Error).message).toBe('over');
    expect(() => overdue().throwIfAborted()).toThrow('over');
  });

  it('fires its listeners when a read finds it overdue', () => {
    const signal = overdue();
    let fired = 0;
    signal.addEventListener('abort', () => fired++);
    void signal.aborted;
    void signal.aborted;
    expect(fired).toBe(1);
  });

  it('is an AbortSignal to everybody who takes one', async () => {
    const checked = checkedSignal(() => {});
    expect(checked.signal).toBeInstanceOf(AbortSignal);
    expect(checked.signal.aborted).toBe(false);
    expect(checked.signal.reason).toBeUndefined();
    expect(() => checked.signal.throwIfAborted()).not.toThrow();
    const any = AbortSignal.any([checked.signal]);
    const heard: string[] = [];
    onAbort(checked.signal, () => heard.push('listener'));
    checked.abort('why');
    expect(any.reason).toBe('why');
    expect(heard).toEqual(['listener']);
    // Made of an overdue one, a derived signal is aborted from the start.
    expect(AbortSignal.any([overdue()]).aborted).toBe(true);
  });

  it('takes many listeners without a warning', async () => {
    const warnings: Error[] = [];
    const note = (warning: Error): number => warnings.push(warning);
    process.on('warning', note);
    const { signal } = checkedSignal(() => {});
    for (let i = 0; i < 50; i++) signal.addEventListener('abort', () => {});
    await new Promise((resolve) => setImmediate(resolve));
    process.off('warning', note);
    expect(warnings).toEqual([]);
  });
});
