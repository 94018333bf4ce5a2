/** Looks at the pages of a file without the reader: what bbolt checks, and what it panics on later. */
import { BRANCH_PAGE, LEAF_PAGE, PAGE_BYTES, readHead, readMeta } from '../../../../src/server/snapshot/bolt/format.ts';

/** Every page that the root reaches, and how often. @throws on a branch with less than two children. */
export function reachedPages(bytes: Buffer): { readonly reached: Map<number, number>; readonly pageCount: number } {
  const meta = readMeta(bytes, 0);
  if (typeof meta === 'string') throw new Error(meta);
  const reached = new Map<number, number>();
  const visit = (number: number): void => {
    const at = number * PAGE_BYTES;
    const head = readHead(bytes, at);
    for (let page = number; page <= number + head.overflow; page += 1) reached.set(page, (reached.get(page) ?? 0) + 1);
    if (head.flags === BRANCH_PAGE && head.count < 2) throw new Error(`branch ${number} has ${head.count} children`);
    for (let element = at + 16; element < at + 16 + 16 * head.count; element += 16) {
      if (head.flags === BRANCH_PAGE) visit(Number(bytes.readBigUInt64LE(element + 8)));
      else if (head.flags === LEAF_PAGE && bytes.readUInt32LE(element) === 1) {
        const value = element + bytes.readUInt32LE(element + 4) + bytes.readUInt32LE(element + 8);
        visit(Number(bytes.readBigUInt64LE(value)));
      }
    }
  };
  visit(meta.root);
  return { reached, pageCount: meta.pageCount };
}
