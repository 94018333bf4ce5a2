/**
 * Where another member can be reached: one address is used until it fails, then the next one's turn comes.
 *
 * @module
 */

/** See the head of this file. */
export class Addresses {
  #urls: readonly string[];
  #at = 0;

  /** @param urls At least one, or nothing can be asked. */
  constructor(urls: readonly string[]) {
    this.#urls = urls;
  }

  /** The one to use now. @throws Error there is none. */
  pick(): string {
    const url = this.#urls[this.#at % this.#urls.length];
    if (url === undefined) throw new Error('the member has no address');
    return url;
  }

  /** That one did not work. Who finds out late changes nothing. */
  failed(url: string): void {
    if (this.#urls[this.#at % this.#urls.length] === url) this.#at = (this.#at + 1) % this.#urls.length;
  }

  /** The member has others now. */
  update(urls: readonly string[]): void {
    if (urls.length === this.#urls.length && urls.every((url, i) => url === this.#urls[i])) return;
    this.#urls = urls;
    this.#at = 0;
  }
}
