import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ChangeFeed, type InformerChange } from '../../../src/client/cache/changes.ts';

/** Stands for a key-value pair: only its identity matters. */
type Change = InformerChange<string>;
const kv = (value: number | undefined): Change['current'] =>
  value === undefined ? undefined : ({ value } as unknown as NonNullable<Change['current']>);
const feed = () => {
  let returned = 0;
  const changes = new ChangeFeed<string>(() => {
    returned += 1;
  });
  return { changes, returned: () => returned };
};
const change = (key: string, previous: number | undefined, current: number | undefined): Change => ({
  key,
  previous: kv(previous),
  current: kv(current),
});

describe('ChangeFeed', () => {
  it('takes a reader from what it knew to what is, whenever it reads', async () => {
    // Writes (a value) and deletes (none) of a few keys, with reads in between.
    const step = fc.oneof(
      {
        weight: 3,
        arbitrary: fc.record({ key: fc.constantFrom('a', 'b', 'c'), value: fc.option(fc.nat(9), { nil: undefined }) }),
      },
      { weight: 1, arbitrary: fc.constant('read' as const) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const { changes } = feed();
        const store = new Map<string, number>();
        const reader = new Map<string, number>();
        let waiting = new Set<string>();
        const read = async (): Promise<void> => {
          const { value } = (await changes.next()) as IteratorYieldResult<Change>;
          const { key, current, previous } = value;
          expect(previous?.value as unknown).toBe(reader.get(key));
          if (current === undefined) reader.delete(key);
          else reader.set(key, current.value as unknown as number);
          expect(reader.get(key)).toBe(store.get(key));
          waiting.delete(key);
        };
        for (const next of steps) {
          if (next === 'read') {
            if (waiting.size > 0) await read();
            continue;
          }
          const { key, value } = next;
          const before = store.get(key);
          if (before === undefined && value === undefined) continue;
          if (value === undefined) store.delete(key);
          else store.set(key, value);
          changes.push(key, change(key, before, value));
          waiting.add(key);
          // One that came and went again is not told.
          waiting = new Set([...waiting].filter((name) => store.has(name) || reader.has(name)));
        }
        while (waiting.size > 0) await read();
        expect(reader).toEqual(store);
        changes.end();
        expect(await changes.next()).toEqual({ done: true, value: undefined });
      }),
    );
  });

  it('wakes everybody who waits', async () => {
    const { changes } = feed();
    const waiting = [changes.next(), changes.next()];
    changes.push('a', change('a', undefined, 1));
    changes.push('b', change('b', undefined, 1));
    const told = await Promise.all(waiting);
    expect(told.map(({ value }) => (value as Change).key)).toEqual(['a', 'b']);
    const more = [changes.next(), changes.next()];
    changes.end();
    expect((await Promise.all(more)).map(({ done }) => done)).toEqual([true, true]);
  });

  it('gives what waits before it ends, then the error once', async () => {
    const { changes } = feed();
    changes.push('a', change('a', undefined, 1));
    changes.end(new Error('why'));
    changes.push('b', change('b', undefined, 1));
    expect(await changes.next()).toMatchObject({ value: { key: 'a' } });
    await expect(changes.next()).rejects.toThrow('why');
    expect(await changes.next()).toEqual({ done: true, value: undefined });
  });

  it('is let go of when its loop is left, also while somebody waits', async () => {
    const { changes, returned } = feed();
    changes.push('a', change('a', undefined, 1));
    for await (const { key } of changes) {
      expect(key).toBe('a');
      break;
    }
    expect(returned()).toBe(1);
    const other = feed();
    const waiting = other.changes.next();
    await other.changes.return();
    expect(await waiting).toEqual({ done: true, value: undefined });
  });
});
