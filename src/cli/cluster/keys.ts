/**
 * Keys that are pressed, or characters that come through a pipe: each does something to the cluster.
 *
 * @module
 */

/** What the keys do. */
export interface KeyActions {
  readonly toggle: (member: number) => void;
  readonly togglePause: (member: number) => void;
  readonly moveLeader: () => void;
  readonly quit: () => void;
}

/** For people, below the table. */
export const KEYS = '1-9 stop or start   p1-p9 pause or resume   l move the leader   q quit';

/** Ctrl-C, and Ctrl-D, of a terminal that passes them on. */
const ENDS = new Set(['q', '\x03', '\x04']);

/** What takes characters as they come. Those that mean nothing do nothing. */
export function keyReader(actions: KeyActions): (text: string) => void {
  let pausing = false;
  return (text) => {
    for (const key of text) {
      const wasPausing = pausing;
      pausing = key === 'p';
      if (ENDS.has(key)) actions.quit();
      else if (key === 'l') actions.moveLeader();
      else if (/^[1-9]$/.test(key)) (wasPausing ? actions.togglePause : actions.toggle)(Number(key));
    }
  };
}
