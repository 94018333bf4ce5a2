import { describe, expect, it } from 'vitest';
import { Sfc32 } from './random.ts';

const draw = (random: Sfc32, count: number): number[] => Array.from({ length: count }, () => random.uint32());

describe('Sfc32', () => {
  it('gives the same numbers on every engine', () => {
    expect(draw(new Sfc32(1), 4)).toMatchInlineSnapshot(`
      [
        4131581307,
        1943707445,
        2283291842,
        1034179186,
      ]
    `);
  });

  it('gives others for another seed', () => {
    expect(draw(new Sfc32(1), 4)).not.toEqual(draw(new Sfc32(2), 4));
  });

  it('forks by label, whatever was drawn before', () => {
    const fresh = new Sfc32(7);
    const used = new Sfc32(7);
    draw(used, 100);
    expect(draw(used.fork('disk') as Sfc32, 3)).toEqual(draw(fresh.fork('disk') as Sfc32, 3));
    expect(draw(fresh.fork('disk') as Sfc32, 3)).not.toEqual(draw(fresh.fork('network') as Sfc32, 3));
  });

  it('spreads evenly, within its bounds', () => {
    const random = new Sfc32(3);
    const counts = new Array<number>(6).fill(0);
    for (let n = 0; n < 60_000; n += 1) counts[random.between(0, 5)]! += 1;
    for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(500);
    const hits = Array.from({ length: 10_000 }, () => random.chance(0.2)).filter(Boolean).length;
    expect(Math.abs(hits - 2000)).toBeLessThan(200);
    expect(random.chance(0)).toBe(false);
    expect(random.chance(1)).toBe(true);
  });
});
