/**
 * What the tour prints: chapters, and lines that say when and who.
 *
 * @module
 */
const startedAt = performance.now();

/** A title. */
export function chapter(title: string): void {
  console.log(`\n── ${title} ${'─'.repeat(Math.max(2, 76 - title.length))}`);
}

/** A line, with the seconds since the start. */
export function say(text: string): void {
  console.log(`${((performance.now() - startedAt) / 1_000).toFixed(1).padStart(6)} s  ${text}`);
}

/** A line without a time. */
export function note(text: string): void {
  console.log(`          ${text}`);
}
