import { isIP } from 'node:net';
import { describe, expect, it } from 'vitest';
import { isFor, type Names } from '../../../src/server/peer/certificate-address.ts';

/** A certificate with these alternative names, as Node.js prints them. */
function certificate(...alternatives: string[]) {
  return {
    subjectAltName: alternatives.length === 0 ? undefined : alternatives.join(', '),
    checkIP: (address: string) => (alternatives.includes(`IP Address:${address}`) ? address : undefined),
  };
}

const ADDRESSES: Readonly<Record<string, readonly string[]>> = { 'a.example': ['10.0.0.9', '10.0.0.1'] };
const NAMES: Readonly<Record<string, readonly string[]>> = {
  '10.0.0.2': ['pod-2.cluster.local.'],
  '10.0.0.3': ['Listed.example'],
};

const dns: Names = {
  addressesOf: async (name) => ADDRESSES[name] ?? Promise.reject(new Error('ENOTFOUND')),
  namesOf: async (address) => (isIP(address) ? NAMES[address] : undefined) ?? Promise.reject(new Error('ENOTFOUND')),
};

describe('a certificate', () => {
  it.each([
    ['without names is for any address', [], '10.0.0.1', true],
    ['with other kinds of names alone too', ['URI:spiffe://a', 'email:DNS@a.example'], '10.0.0.1', true],
    ['is for the addresses in it', ['IP Address:10.0.0.5', 'IP Address:10.0.0.1'], '10.0.0.1', true],
    ['is for them as a socket for both kinds has them', ['IP Address:10.0.0.1'], '::ffff:10.0.0.1', true],
    ['is for no other', ['IP Address:10.0.0.5'], '10.0.0.1', false],
    ['is for all addresses of a name in it', ['DNS:b.example', 'DNS:A.example'], '10.0.0.1', true],
    ['is for them beside addresses in it', ['IP Address:10.0.0.5', 'DNS:a.example'], '10.0.0.1', true],
    ['is for an address that has the name', ['DNS:listed.example'], '10.0.0.3', true],
    ['is for an address whose name the pattern covers', ['DNS:*.cluster.local'], '10.0.0.2', true],
    ['is not for one that only ends alike', ['DNS:*.2.cluster.local'], '10.0.0.2', false],
    ['is not for one whose names nobody knows', ['DNS:*.cluster.local', 'DNS:gone.example'], '10.0.0.7', false],
    ['is not for what only looks like a name', ['DNS:"a.example, DNS:*.cluster.local"'], '10.0.0.2', false],
  ] as const)('%s', async (_, alternatives, address, expected) => {
    expect(await isFor(certificate(...alternatives), address, dns)).toBe(expected);
  });
});
