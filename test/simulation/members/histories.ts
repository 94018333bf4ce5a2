/**
 * What clients were told, checked against what the store went through.
 */
import { checkLeases } from '../../checkers/lease-checker.ts';
import { checkHistory, clientRevisions } from '../../checkers/linearizability.ts';
import { checkWatchers } from '../../checkers/watch-checker.ts';
import type { Clients } from './clients.ts';
import type { MembersCluster } from './cluster.ts';
import type { Lessees } from './lessees.ts';
import type { Watchers } from './watchers.ts';

/** From a lease's end to the time at which it must be seen: two looks of the leader at its leases, and a commit. */
const LEASE_SLACK_MS = 1_500;

export interface Histories {
  readonly cluster: MembersCluster;
  readonly clients: Clients;
  readonly watchers: Watchers;
  readonly lessees: Lessees;
  /** From when on one leader could commit all along, in virtual ms; undefined: never. */
  readonly calmFromMs: number | undefined;
}

/** Checks them all; the first finding of each kind breaks its rule. */
export function checkHistories({ cluster, clients, watchers, lessees, calmFromMs }: Histories): void {
  const { verdict, oracle, scheduler } = cluster;
  const { log } = oracle;
  const report = checkHistory({ operations: clients.recorder.operations, log });
  const [wrong] = report.findings;
  if (wrong) verdict.fail('history', `${wrong.rule}: ${wrong.message}`);
  const completeTo = calmFromMs === undefined ? 0 : (log.at(-1)?.revision ?? 1);
  const [lost] = checkWatchers({ log, compactions: clients.compactions }, watchers.histories(completeTo));
  if (lost) verdict.fail('watch', `${lost.rule}: ${lost.message}`);
  const endMs = scheduler.nowUs / 1000;
  const truth = {
    log,
    seenAtMs: (revision: number) => (oracle.appliedAtUs[revision - 2] ?? 0) / 1000,
    clientRevisions: clientRevisions(report),
    reigns: calmFromMs === undefined ? [] : [{ fromMs: calmFromMs, toMs: endMs }],
    endMs,
    limits: { electionTimeoutMs: cluster.options.electionMs, slackMs: LEASE_SLACK_MS, inFlightMs: 20_000 },
  };
  // A clock that runs fast lets leases end before their time, and nobody promises otherwise.
  if (cluster.skewed) return;
  const [ended] = checkLeases(truth, lessees.histories);
  if (ended) verdict.fail('lease', `${ended.rule}: ${ended.message}`);
}
