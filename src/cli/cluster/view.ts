/**
 * What people see of a cluster: on a terminal a table that is drawn anew, elsewhere a line for each change that matters.
 *
 * @module
 */
import { styleText } from 'node:util';
import { aligned, sizeText } from '../text.ts';
import type { MemberLine } from './supervisor.ts';

/** Where it is written: standard output, or what stands for it. */
export interface Screen {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  write(text: string): unknown;
}

const HEADINGS = ['', 'NAME', 'ENDPOINT', 'STATE', 'ROLE', 'TERM', 'INDEX', 'REVISION', 'DB SIZE', 'HEALTH'] as const;

/** The cells of a row, as texts. */
function cellsOf(line: MemberLine, at: number): string[] {
  const text = (value: number | string | undefined): string => (value === undefined ? '-' : String(value));
  return [
    String(at + 1),
    line.name,
    line.endpoint,
    line.ending ? `${line.state} (${line.ending})` : line.state,
    text(line.role),
    text(line.term),
    text(line.index),
    text(line.revision),
    line.dbSizeBytes === undefined ? '-' : sizeText(line.dbSizeBytes),
    line.healthy ? 'healthy' : line.state === 'running' ? 'unhealthy' : '-',
  ];
}

/**
 * A table of all members.
 *
 * @param paint Whether it may have colours.
 * @param columns No line is longer. Default: no limit.
 */
export function tableOf(lines: readonly MemberLine[], paint = false, columns?: number): string {
  return aligned([HEADINGS, ...lines.map(cellsOf)])
    .map((whole, at) => {
      const text = whole.slice(0, columns);
      return `${paint ? painted(text, lines[at - 1]) : text}\n`;
    })
    .join('');
}

function painted(text: string, line: MemberLine | undefined): string {
  const style = line === undefined ? 'bold' : line.healthy ? (line.role === 'leader' ? 'green' : 'reset') : 'red';
  return styleText(style, text, { validateStream: false });
}

/** See the head of this file. */
export class View {
  readonly #screen: Screen;
  readonly #paint: boolean;
  /** Of the table, as it is on the screen. */
  #height = 0;
  #shown: string[] = [];
  #keys = '';

  /** @param paint Whether a table may have colours. */
  constructor(screen: Screen, paint: boolean) {
    this.#screen = screen;
    this.#paint = paint;
  }

  /** Says something, above the table. */
  say(text: string): void {
    this.#wipe();
    this.#screen.write(`${text}\n`);
  }

  /** What keys there are, below the table. */
  set keys(text: string) {
    this.#keys = text;
  }

  /** How the members are now. */
  show(lines: readonly MemberLine[]): void {
    if (this.#screen.isTTY) this.#draw(lines);
    else this.#tellChanges(lines);
  }

  #draw(lines: readonly MemberLine[]): void {
    // A line that goes on in the next one would be taken for one when it is wiped.
    const { columns } = this.#screen;
    const text = `${tableOf(lines, this.#paint, columns)}${this.#keys.slice(0, columns)}\n`;
    this.#wipe();
    this.#screen.write(text);
    this.#height = text.split('\n').length - 1;
  }

  /** Takes the table away. */
  #wipe(): void {
    if (this.#height > 0) this.#screen.write(`\x1b[${this.#height}A\x1b[J`);
    this.#height = 0;
  }

  #tellChanges(lines: readonly MemberLine[]): void {
    for (const [at, { name, endpoint, state, ending, role, term, healthy }] of lines.entries()) {
      const health = state === 'running' ? (healthy ? ' healthy' : ' unhealthy') : '';
      const what = `${state}${ending ? ` (${ending})` : ''}${role ? ` ${role} term ${term}` : ''}${health}`;
      if (this.#shown[at] === what) continue;
      this.#shown[at] = what;
      this.#screen.write(`${name} ${endpoint} ${what}\n`);
    }
  }
}
