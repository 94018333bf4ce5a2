/**
 * Reads the arguments of a directive. What does not fit is a {@link TraceError}: a trace never passes because a
 * command left out what it did not understand.
 *
 * @module
 */
import { type Directive, TraceError } from './format.ts';

/** What a command takes. */
export interface Signature {
  /** How many bare arguments, at least and at most. */
  readonly bare: readonly [least: number, most: number];
  /** Names of the others. */
  readonly named?: readonly string[] | undefined;
}

export interface Arguments {
  readonly bare: readonly string[];
  /** Values by name; those of a name that comes twice stand one after the other. */
  readonly named: ReadonlyMap<string, readonly string[]>;
}

const TRUE = ['1', 't', 'T', 'TRUE', 'true', 'True'];
const FALSE = ['0', 'f', 'F', 'FALSE', 'false', 'False'];

/** The arguments, checked against what the command takes. */
export function readArguments(directive: Directive, { bare: [least, most], named: names = [] }: Signature): Arguments {
  const bare: string[] = [];
  const named = new Map<string, readonly string[]>();
  for (const { key, values } of directive.args) {
    if (values.length === 0) bare.push(key);
    else if (names.includes(key)) named.set(key, [...(named.get(key) ?? []), ...values]);
    else throw new TraceError(directive, `${directive.command} has no argument ${key}=`);
  }
  if (bare.length < least || bare.length > most) {
    const count = least === most ? `${least}` : `at least ${least}`;
    throw new TraceError(directive, `${directive.command} takes ${count} bare arguments, not ${bare.length}`);
  }
  return { bare, named };
}

/** The one value of a named argument, read; undefined if it is missing. */
export function one<T>(
  directive: Directive,
  { named }: Arguments,
  name: string,
  read: (directive: Directive, text: string) => T,
): T | undefined {
  const values = named.get(name);
  if (values === undefined) return undefined;
  const [value, ...more] = values;
  if (value === undefined || more.length > 0) throw new TraceError(directive, `${name} takes one value`);
  return read(directive, value);
}

/** All values of a named argument, read; none if it is missing. */
export function all<T>(
  directive: Directive,
  { named }: Arguments,
  name: string,
  read: (directive: Directive, text: string) => T,
): readonly T[] {
  return (named.get(name) ?? []).map((value) => read(directive, value));
}

/** A text as it is. */
export function text(_directive: Directive, value: string): string {
  return value;
}

/** A whole number, in decimal, that a `number` holds exactly. */
export function whole(directive: Directive, value: string): number {
  const number = Number(value);
  if (/^\d+$/.test(value) && Number.isSafeInteger(number)) return number;
  throw new TraceError(directive, `${value} is not a whole number`);
}

/** A truth value, in the spellings that Go knows. */
export function truth(directive: Directive, value: string): boolean {
  if (TRUE.includes(value)) return true;
  if (FALSE.includes(value)) return false;
  throw new TraceError(directive, `${value} is neither true nor false`);
}
