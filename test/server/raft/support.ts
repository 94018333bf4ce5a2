/**
 * The bed for scenario tests of the consensus core. Three layers, each usable alone:
 *
 * - `support/parts.ts`: values (ids, entries, messages, storage) and a bare `Raft` worked by hand. For tests of one
 *   member: step a message in, take what comes out.
 * - `support/members.ts`: a member that does its own storage work, by one of three drivers: `raw` (no disk at all),
 *   `ready` (the loop of `Ready` and `advance`), `async` (storage threads).
 * - `support/network.ts`: members in a network that delivers until nobody says anything any more, with its faults.
 *
 * Scenarios that etcd's raft library tests too carry its test's name in brackets.
 */
export * from './support/members.ts';
export * from './support/network.ts';
export * from './support/parts.ts';
