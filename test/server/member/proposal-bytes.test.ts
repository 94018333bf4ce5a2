import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InternalRaftRequest } from '../../../src/protocol/generated/raftinternalpb.ts';
import { encodeProposal } from '../../../src/server/member/proposal-bytes.ts';

const bytes = fc.uint8Array({ maxLength: 300 });
const header = fc.record({
  ID: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  username: fc.string({ maxLength: 12 }),
  authRevision: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
});
const put = fc.record({
  key: bytes,
  value: bytes,
  lease: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  prevKv: fc.boolean(),
  ignoreValue: fc.boolean(),
  ignoreLease: fc.boolean(),
});

describe('the bytes of a proposal', () => {
  it('are those of the generated codec: puts', () => {
    fc.assert(
      fc.property(put, header, (request, by) => {
        const made = encodeProposal({ put: request }, by);
        expect(Buffer.compare(made, InternalRaftRequest.encode({ put: request, header: by }))).toBe(0);
      }),
    );
  });

  it('are those of the generated codec: another kind', () => {
    const request = { deleteRange: { key: Buffer.from('a'), rangeEnd: Buffer.from('b'), prevKv: true } };
    const by = { ID: 7n, username: 'ada', authRevision: 3n };
    expect(encodeProposal(request, by)).toEqual(InternalRaftRequest.encode({ ...request, header: by }));
  });

  it('stay as they are when others are made after them', () => {
    const by = { ID: 1n };
    const first = encodeProposal({ put: { key: Buffer.from('first') } }, by);
    const before = Uint8Array.from(first);
    for (let i = 0; i < 10; i += 1) encodeProposal({ put: { key: Buffer.from(`other${i}`) } }, by);
    expect(Uint8Array.from(first)).toEqual(before);
  });
});
