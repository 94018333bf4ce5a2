/**
 * The TypeScript in the documents, as programs.
 *
 * @module
 */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** The project's folder. */
export const root = path.join(import.meta.dirname, '..', '..');

/** A fenced block of a Markdown file. */
export interface CodeBlock {
  /** Where it begins, as `README.md:12`. */
  readonly at: string;
  readonly code: string;
}

/** Every block of a file that is marked `ts`. */
export async function codeBlocks(file: string): Promise<CodeBlock[]> {
  const text = await readFile(path.join(root, file), 'utf8');
  return [...text.matchAll(/^```ts\n(.*?)^```$/gms)].map(({ index, 1: code = '' }) => ({
    at: `${file}:${text.slice(0, index).split('\n').length + 1}`,
    code,
  }));
}

/** A code block with what the text says that it prints. */
export interface Program extends CodeBlock {
  /** `no-run`: it needs what is not to be had in a test; it is compiled. */
  readonly runs: boolean;
  /** The block marked `text` that follows; in it `…` stands for anything within a line. */
  readonly prints: string | undefined;
}

/** Every block of a file that is marked `ts` or `ts no-run`, with the output that follows it. */
export async function programsOf(file: string): Promise<Program[]> {
  const text = await readFile(path.join(root, file), 'utf8');
  const pattern = /^```ts( no-run)?\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?/gms;
  return [...text.matchAll(pattern)].map(({ index, 1: mark, 2: code = '', 3: prints }) => ({
    at: `${file}:${text.slice(0, index).split('\n').length + 1}`,
    code,
    runs: mark === undefined,
    prints,
  }));
}

/** Whether a program printed what the text says. */
export function outputPattern(prints: string): RegExp {
  const parts = prints.split('…').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${parts.join('.*')}$`);
}

/** Programs made of code blocks, in a folder where `etcdkit` is the source of this package. */
export class Programs implements AsyncDisposable {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async create(): Promise<Programs> {
    // Inside the project, so that packages are found.
    await mkdir(path.join(root, '.cache'), { recursive: true });
    const folder = await mkdtemp(path.join(root, '.cache', 'code-blocks-'));
    // A program that is short may name what it only holds.
    const compilerOptions = { noUnusedLocals: false };
    const tsconfig = { extends: '../../tsconfig.json', include: ['*.ts'], compilerOptions };
    await writeFile(path.join(folder, 'tsconfig.json'), JSON.stringify(tsconfig));
    return new Programs(folder);
  }

  /** Adds a program and returns its file. */
  async add(block: CodeBlock): Promise<string> {
    const file = path.join(this.#folder, `${block.at.replace(/\W+/g, '-')}.ts`);
    await writeFile(file, block.code);
    return file;
  }

  /** Checks the types of all programs at once. @throws with the compiler's messages. */
  async checkTypes(): Promise<void> {
    const tsc = path.join(root, 'node_modules', '.bin', 'tsc');
    await run(tsc, ['-p', this.#folder]).catch((error: { stdout?: string }) => {
      throw new Error(error.stdout);
    });
  }

  /** Runs a program until it ends by itself, and returns what it printed. */
  async run(file: string, env: NodeJS.ProcessEnv): Promise<string> {
    // What it leaves in the temporary folder goes with ours.
    const own = { TSX_TSCONFIG_PATH: path.join(this.#folder, 'tsconfig.json'), TMPDIR: this.#folder };
    const all = { ...process.env, ...own, ...env };
    const options = { cwd: root, env: all, timeout: 60_000, killSignal: 'SIGKILL' as const };
    const { stdout } = await run(process.execPath, ['--import', 'tsx', file], options);
    return stdout;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true });
  }
}
