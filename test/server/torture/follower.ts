/** One watch of the package's own client that lives through all the kills. */
import { Etcd, type Revision } from '../../../src/index.ts';
import { addChange } from './store-model.ts';

/** See the head of this file. */
export class Follower implements AsyncDisposable {
  /** The last revision that it has got all of. */
  revision = 1;
  digest = 0;
  readonly #etcd: Etcd;
  readonly #ending = new AbortController();
  readonly #done: Promise<void>;
  #failure: unknown;
  #wake: (() => void) | undefined;

  constructor(endpoints: string | readonly string[]) {
    this.#etcd = new Etcd({ endpoints });
    this.#done = this.#follow().catch((error: unknown) => {
      this.#failure = error;
      this.#wake?.();
    });
  }

  /** Resolves once it has got that revision. @throws what ended the watch. */
  async reach(revision: number): Promise<void> {
    while (this.revision < revision && this.#failure === undefined)
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    if (this.#failure !== undefined) throw this.#failure;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort();
    await this.#done;
    await this.#etcd.close();
  }

  async #follow(): Promise<void> {
    const watcher = this.#etcd.watch({ prefix: '' }, { from: 2n as Revision, signal: this.#ending.signal });
    for await (const { events } of watcher.batches()) {
      for (const { type, kv } of events) {
        const change = { key: kv.key, mod: Number(kv.modRevision), deleted: type === 'delete' };
        this.digest = addChange(this.digest, change);
        this.revision = change.mod;
      }
      this.#wake?.();
    }
  }
}
