/**
 * The package as it is published: packed, and installed into a project that has nothing else.
 *
 * @module
 */
import { execFile } from 'node:child_process';
import { mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** The project's folder. */
export const root = path.join(import.meta.dirname, '..', '..');

/** A tarball, and what is in it. */
export interface Packed {
  readonly tarball: string;
  readonly files: readonly string[];
}

/** Packs what `npm run build` made, without building again. */
export async function pack(folder: string): Promise<Packed> {
  const args = ['pack', '--json', '--ignore-scripts', '--pack-destination', folder];
  const { stdout } = await run('npm', args, { cwd: root, maxBuffer: 16 * 1024 * 1024 });
  const [made] = JSON.parse(stdout) as [{ filename: string; files: { path: string }[] }];
  return { tarball: path.join(folder, made.filename), files: made.files.map((file) => file.path) };
}

/** A project outside this one. */
export class Project implements AsyncDisposable {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async create(): Promise<Project> {
    // Without symbolic links, so that paths can be compared.
    const folder = await realpath(await mkdtemp(path.join(os.tmpdir(), 'etcdkit-package-')));
    await writeFile(path.join(folder, 'package.json'), '{ "name": "consumer", "private": true, "type": "module" }');
    return new Project(folder);
  }

  /** Installs packages, beside those that are there. @throws when npm refuses. */
  async install(...packages: string[]): Promise<void> {
    const args = ['install', '--prefer-offline', '--no-audit', '--no-fund', ...packages];
    await run('npm', args, { cwd: this.folder });
  }

  async write(file: string, text: string): Promise<void> {
    await writeFile(path.join(this.folder, file), text);
  }

  /** Runs node and returns what it prints. @throws with what it wrote to stderr when it fails, or does not end. */
  node(...args: string[]): Promise<string> {
    return this.run(process.execPath, ...args);
  }

  /** Runs a program as {@link node} does. */
  async run(program: string, ...args: string[]): Promise<string> {
    // Settings of the test runner are not for the program.
    const env = { ...process.env, NODE_OPTIONS: '' };
    const { stdout } = await run(program, args, { cwd: this.folder, timeout: 30_000, env });
    return stdout;
  }

  /** Runs a tool of the main project here. @throws with its output when it fails. */
  async tool(name: string, ...args: string[]): Promise<string> {
    const bin = path.join(root, 'node_modules', '.bin', name);
    try {
      return (await run(bin, args, { cwd: this.folder, maxBuffer: 16 * 1024 * 1024 })).stdout;
    } catch (error) {
      const { stdout, stderr } = error as { stdout?: string; stderr?: string };
      throw new Error(`${name} ${args.join(' ')}\n${stdout ?? ''}${stderr ?? ''}`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}
