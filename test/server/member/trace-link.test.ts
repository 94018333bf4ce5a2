import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InternalRaftRequest } from '../../../src/protocol/generated/raftinternalpb.ts';
import { encodeProposal } from '../../../src/server/member/proposal-bytes.ts';
import { LINK_FIELD_BYTES, linkOf, withLink } from '../../../src/server/member/trace-link.ts';

const LINK = Uint8Array.from({ length: 24 }, (_, i) => i + 1);
const bytes = fc.uint8Array({ maxLength: 60 });

function proposal(key: Uint8Array, value: Uint8Array, username = ''): Uint8Array {
  return encodeProposal({ put: { key, value } }, { ID: 7n, username });
}

describe('the link of an entry', () => {
  it('comes back, and leaves the request as it was', () => {
    fc.assert(
      fc.property(bytes, bytes, (key, value) => {
        const request = proposal(key, value);
        const data = withLink(request, LINK);
        expect(data.length).toBe(request.length + LINK_FIELD_BYTES);
        expect(linkOf(data)).toEqual(LINK);
        expect(InternalRaftRequest.decode(data)).toEqual(InternalRaftRequest.decode(request));
      }),
    );
  });

  it('is a field that protobuf lets a reader pass over: its number and its bytes', () => {
    const data = withLink(new Uint8Array(), LINK);
    // Field 500,000,007, length-delimited, 24 bytes.
    expect(Buffer.from(data.subarray(0, 6)).toString('hex')).toBe(`${tagOf(500_000_007)}18`);
    expect(data.subarray(6)).toEqual(LINK);
  });

  it('is not made of a value or a name that looks like one', () => {
    const field = withLink(new Uint8Array(), LINK);
    expect(linkOf(proposal(field, field))).toBeUndefined();
    // Here they are the last ones.
    expect(linkOf(InternalRaftRequest.encode({ put: { value: field } }))).toBeUndefined();
  });

  it('is not there in anything else', () => {
    fc.assert(fc.property(bytes, (data) => linkOf(data) === undefined));
    expect(linkOf(new Uint8Array())).toBeUndefined();
    expect(linkOf(withLink(proposal(LINK, LINK), LINK).subarray(0, -1))).toBeUndefined();
    // Fields before it that are none.
    expect(linkOf(withLink(Uint8Array.of(0xff), LINK))).toBeUndefined();
  });
});

/** The bytes of a tag, by protobuf's rules, as hex. */
function tagOf(field: number): string {
  let rest = BigInt(field) * 8n + 2n;
  let hex = '';
  for (; rest >= 128n; rest >>= 7n)
    hex += Number((rest & 127n) | 128n)
      .toString(16)
      .padStart(2, '0');
  return hex + rest.toString(16).padStart(2, '0');
}
