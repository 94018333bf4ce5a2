/** Makes a sequence with a difference short: whatever can be left out and the two still differ is left out. */
import { type Compared, Pair } from './pair.ts';
import type { Step } from './steps.ts';

export interface Shrunk {
  readonly steps: readonly Step[];
  readonly compared: Compared;
  readonly tries: number;
}

/** Plays a sequence on new servers, up to the first difference. */
async function play(steps: readonly Step[]): Promise<Shrunk | undefined> {
  await using pair = await Pair.start();
  for (const [index, step] of steps.entries()) {
    const compared = await pair.take(step);
    if (!compared.equal && !compared.deliberate) return { steps: steps.slice(0, index + 1), compared, tries: 0 };
  }
  return undefined;
}

/** Leaves out ever smaller parts (delta debugging). `undefined`: the difference does not come again. */
export async function shrink(steps: readonly Step[], mostTries = 40): Promise<Shrunk | undefined> {
  let best = await play(steps);
  let tries = 1;
  if (!best) return undefined;
  // The last step is what differs.
  for (
    let size = Math.ceil(best.steps.length / 2);
    size >= 1 && tries < mostTries;
    size = size === 1 ? 0 : Math.ceil(size / 2)
  ) {
    for (let from = 0; from < best.steps.length - 1 && tries < mostTries; ) {
      const kept: readonly Step[] = best.steps.filter(
        (_, i) => i < from || i >= from + size || i === (best?.steps.length ?? 0) - 1,
      );
      const played: Shrunk | undefined = kept.length < best.steps.length ? await play(kept) : undefined;
      tries += 1;
      if (played) best = played;
      else from += size;
    }
  }
  return { ...best, tries };
}
