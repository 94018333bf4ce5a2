/** One fault on purpose: a rule of the core taken away, to see whether a suite notices. */
export interface Mutant {
  /** Short and lasting: tables and command lines use it. */
  readonly name: string;
  /** File below src/server/raft/. */
  readonly file: string;
  /** The rule that is broken, as a sentence of what holds without the fault. */
  readonly rule: string;
  /** Text of the file, in it exactly once; runs of white space count as one space. */
  readonly find: string;
  readonly replace: string;
  /** Why no suite can see it, if none can. */
  readonly equivalent?: string | undefined;
}

/**
 * Gives the file's text with the fault in it.
 *
 * @throws Error when the text to replace is not there exactly once: the table is older than the code.
 */
export function applyMutant(mutant: Mutant, text: string): string {
  const literal = (part: string): string => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const pattern = new RegExp(mutant.find.trim().split(/\s+/).map(literal).join('\\s+'), 'g');
  const places = [...text.matchAll(pattern)];
  const [place] = places;
  if (places.length !== 1 || !place) {
    throw new Error(`mutant ${mutant.name}: its text is ${places.length} times in ${mutant.file}, not once`);
  }
  return `${text.slice(0, place.index)}${mutant.replace}${text.slice(place.index + place[0].length)}`;
}
