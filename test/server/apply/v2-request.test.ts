import { describe, expect, it } from 'vitest';
import { attributesPut, encodeV2Put, readV2Request, versionPut } from '../../../src/server/apply/v2-request.ts';
import { Bench } from './support.ts';

/** Of the log of an etcd 3.5.16; 3.4 writes the same. */
const VERSION_OF_ETCD =
  '0884fca2bef1bfe8a66912035055541a0a2f302f76657273696f6e2205332e352e30' +
  '2800320038004800500058006000680070007800800100';
const ATTRIBUTES_OF_ETCD =
  '0881fca2bef1bfe8a66912035055541a262f302f6d656d626572732f386539653035633532313634363934642f61747472696275746573' +
  '223a7b226e616d65223a2264656661756c74222c22636c69656e7455524c73223a5b22687474703a2f2f3132372e302e302e313a3233373930225d7d' +
  '2800320038004800500058006000680070007800800100';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

describe('a request of version 2', () => {
  it('has the bytes that etcd gives it', () => {
    expect(hex(encodeV2Put(7587899064176918020n, versionPut('3.5.0')))).toBe(VERSION_OF_ETCD);
    const attributes = attributesPut(0x8e9e05c52164694dn, 'default', ['http://127.0.0.1:23790']);
    expect(hex(encodeV2Put(7587899064176918017n, attributes))).toBe(ATTRIBUTES_OF_ETCD);
  });

  it('is read again', () => {
    const put = attributesPut(7n, '', []);
    expect(readV2Request(encodeV2Put(9n, put))).toEqual({
      id: 9n,
      method: 'PUT',
      path: '/0/members/7/attributes',
      value: '{}',
    });
  });

  it('is told from one of version 3, applied, and answered to who has proposed it', () => {
    const { machine } = new Bench();
    const data = encodeV2Put(77n, versionPut('3.4.0'));
    const { requestId, outcome } = machine.apply({ index: 1, term: 1, type: 'EntryNormal', data }, 0);
    expect({ requestId, outcome }).toEqual({ requestId: 77n, outcome: { type: 'cluster-change' } });
    expect(machine.members.clusterVersion).toBe('3.4.0');
  });
});
