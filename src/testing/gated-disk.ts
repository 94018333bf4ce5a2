/**
 * A member's disk, as one run of it sees it: answers come through the run's {@link Gate}.
 *
 * When the run is killed, what it has asked for is still done, as the system does it for a process that is gone; then
 * its files are closed, and its locks end.
 *
 * @module
 */
import type { Disk, DiskFile } from '../server/storage/disk.ts';
import type { Gate } from './gate.ts';

/** See the head of this file. */
export class GatedDisk implements Disk {
  readonly #disk: Disk;
  readonly #gate: Gate;
  readonly #files = new Set<DiskFile>();
  readonly #underway = new Set<Promise<unknown>>();

  constructor(disk: Disk, gate: Gate) {
    this.#disk = disk;
    this.#gate = gate;
  }

  /** Whether the disk has something to do. */
  get busy(): boolean {
    return this.#underway.size > 0;
  }

  async open(path: string, options?: Parameters<Disk['open']>[1]): Promise<DiskFile> {
    const opening = this.#disk.open(path, options).then((file) => {
      this.#files.add(file);
      return file;
    });
    return this.#gated(await this.#do(() => opening));
  }

  list(directory: string): Promise<string[] | undefined> {
    return this.#do(() => this.#disk.list(directory));
  }

  makeDirectory(directory: string): Promise<void> {
    return this.#do(() => this.#disk.makeDirectory(directory));
  }

  rename(from: string, to: string): Promise<void> {
    return this.#do(() => this.#disk.rename(from, to));
  }

  remove(path: string): Promise<void> {
    return this.#do(() => this.#disk.remove(path));
  }

  syncDirectory(directory: string): Promise<void> {
    return this.#do(() => this.#disk.syncDirectory(directory));
  }

  /** Lets go of all files, once what is underway is done. The run must have been killed. */
  async abandon(): Promise<void> {
    await Promise.allSettled(this.#underway);
    await Promise.allSettled([...this.#files].map((file) => file.close()));
    this.#files.clear();
  }

  #gated(file: DiskFile): DiskFile {
    return {
      size: () => this.#do(() => file.size()),
      read: (offset, length) => this.#do(() => file.read(offset, length)),
      write: (offset, bytes) => this.#do(() => file.write(offset, bytes)),
      resize: (bytes) => this.#do(() => file.resize(bytes)),
      sync: () => this.#do(() => file.sync()),
      tryLock: () => this.#do(() => file.tryLock()),
      close: () => {
        this.#files.delete(file);
        return this.#do(() => file.close());
      },
    };
  }

  #do<T>(action: () => Promise<T>): Promise<T> {
    const underway = action();
    this.#underway.add(underway);
    const done = (): void => {
      this.#underway.delete(underway);
    };
    underway.then(done, done);
    return this.#gate.pass(underway);
  }
}
