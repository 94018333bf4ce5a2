/**
 * A disk in memory that can crash: for servers without a data directory, and for tests of those with one.
 *
 * It keeps two images. The one that is seen has every write; the durable one has what was synced. A crash takes the
 * durable one and adds, of what was not synced, what the mode says:
 *
 * - `none`: nothing.
 * - `prefix`: the writes up to some moment, the last of them perhaps only up to some sector.
 * - `subset`: any of the sectors, each by its own luck, as disks that reorder may do.
 * - `all`: everything, as when only the process dies.
 *
 * Names survive as in a file system with a journal: the changes up to some moment, and none but those before it.
 *
 * @module
 */
import type { Disk, DiskFile, OpenOptions } from './disk.ts';
import { type CrashMode, MemoryInode, pick, type Random } from './memory-inode.ts';

export type { CrashMode, Random } from './memory-inode.ts';

class Directory {
  /** What is seen. */
  entries = new Map<string, Node>();
  /** What is durable. */
  durable = new Map<string, Node>();
}

type Node = Directory | MemoryInode;

/** One name that points elsewhere; to nothing if `node` is undefined. */
interface NameChange {
  readonly directory: Directory;
  readonly name: string;
  readonly node: Node | undefined;
}

/** See the head of this file. Paths are absolute or not, it makes no difference. */
export class MemoryDisk implements Disk {
  #root = new Directory();
  /** Changes of names that are not durable, oldest first. Those of one rename stand or fall together. */
  #pending: NameChange[][] = [];
  /** Grows with each crash: files that were open before are dead. */
  #life = 0;

  /**
   * Power fails. Files that are open are of no use any more, and locks are gone.
   *
   * @param random decides what survives; needed for `prefix` and `subset`, and for flips.
   * @param flipChance chance that a sector that was written and not synced has a wrong bit. What was synced has none.
   */
  crash(mode: CrashMode, random: Random = () => 0, flipChance = 0): void {
    this.#life++;
    const kept = mode === 'none' ? 0 : mode === 'all' ? this.#pending.length : pick(random, this.#pending.length + 1);
    for (const changes of this.#pending.slice(0, kept)) makeDurable(changes);
    this.#pending = [];
    revert(this.#root, (inode) => inode.crash(mode, random, flipChance));
  }

  /** Makes right what crashes have flipped, for files that were not written to since. */
  unflip(): void {
    this.#life++;
    revert(this.#root, (inode) => inode.unflip());
  }

  async open(path: string, { mode = 'read' }: OpenOptions = {}): Promise<DiskFile> {
    const { directory, name } = this.#parent(path);
    let inode = directory.entries.get(name);
    if (inode instanceof Directory) throw failure('EISDIR', path);
    if (inode === undefined) {
      if (mode !== 'create') throw failure('ENOENT', path);
      inode = new MemoryInode();
      this.#change([{ directory, name, node: inode }]);
    } else if (mode === 'create') {
      inode.resize(0);
    }
    const life = this.#life;
    return new MemoryFile(inode, () => life === this.#life);
  }

  async list(path: string): Promise<string[] | undefined> {
    const directory = this.#find(path);
    return directory instanceof Directory ? [...directory.entries.keys()].sort() : undefined;
  }

  async makeDirectory(path: string): Promise<void> {
    let directory = this.#root;
    for (const name of parts(path)) {
      let next = directory.entries.get(name);
      if (next === undefined) {
        next = new Directory();
        this.#change([{ directory, name, node: next }]);
      }
      if (!(next instanceof Directory)) throw failure('EEXIST', path);
      directory = next;
    }
  }

  async rename(from: string, to: string): Promise<void> {
    const source = this.#parent(from);
    const target = this.#parent(to);
    const node = source.directory.entries.get(source.name);
    if (node === undefined) throw failure('ENOENT', from);
    this.#change([
      { ...source, node: undefined },
      { ...target, node },
    ]);
  }

  async remove(path: string): Promise<void> {
    if (this.#find(path) === undefined) return;
    this.#change([{ ...this.#parent(path), node: undefined }]);
  }

  async syncDirectory(path: string): Promise<void> {
    const synced = this.#find(path);
    if (!(synced instanceof Directory)) throw failure('ENOENT', path);
    // In order: what makes a name durable makes durable what came before it.
    const last = this.#pending.findLastIndex((changes) => changes.some(({ directory }) => directory === synced));
    for (const changes of this.#pending.splice(0, last + 1)) makeDurable(changes);
  }

  #change(changes: NameChange[]): void {
    for (const { directory, name, node } of changes) set(directory.entries, name, node);
    this.#pending.push(changes);
  }

  #find(path: string): Node | undefined {
    let node: Node | undefined = this.#root;
    for (const name of parts(path)) node = node instanceof Directory ? node.entries.get(name) : undefined;
    return node;
  }

  #parent(path: string): { directory: Directory; name: string } {
    const names = parts(path);
    const name = names.pop();
    const directory = this.#find(names.join('/'));
    if (name === undefined || !(directory instanceof Directory)) throw failure('ENOENT', path);
    return { directory, name };
  }
}

class MemoryFile implements DiskFile {
  readonly #inode: MemoryInode;
  readonly #alive: () => boolean;
  #open = true;

  constructor(inode: MemoryInode, alive: () => boolean) {
    this.#inode = inode;
    this.#alive = alive;
  }

  async size(): Promise<number> {
    return this.#usable().size;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    return this.#usable().read(offset, length);
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    this.#usable().write(offset, bytes);
  }

  async resize(bytes: number): Promise<void> {
    this.#usable().resize(bytes);
  }

  async sync(): Promise<void> {
    this.#usable().sync();
  }

  async tryLock(): Promise<boolean> {
    const inode = this.#usable();
    if (inode.lockedBy !== undefined && inode.lockedBy !== this) return false;
    inode.lockedBy = this;
    return true;
  }

  async close(): Promise<void> {
    this.#open = false;
    if (this.#inode.lockedBy === this) this.#inode.lockedBy = undefined;
  }

  #usable(): MemoryInode {
    if (!this.#open || !this.#alive()) throw failure('EBADF', 'a file that is closed');
    return this.#inode;
  }
}

function parts(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.');
}

function set(entries: Map<string, Node>, name: string, node: Node | undefined): void {
  if (node === undefined) entries.delete(name);
  else entries.set(name, node);
}

function makeDurable(changes: readonly NameChange[]): void {
  for (const { directory, name, node } of changes) set(directory.durable, name, node);
}

/** Makes what is durable what is seen, all the way down. */
function revert(directory: Directory, file: (inode: MemoryInode) => void): void {
  directory.entries = new Map(directory.durable);
  for (const node of directory.entries.values()) {
    if (node instanceof Directory) revert(node, file);
    else file(node);
  }
}

function failure(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code });
}
