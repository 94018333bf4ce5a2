/**
 * How often what is rare has happened: a simulator that never gets there checks nothing.
 */
export class Coverage {
  /** Leaders elected. */
  elections = 0;
  /** Times that a member dropped the end of its log for another leader's. */
  droppedTails = 0;
  /** Snapshots that took the place of a member's log. */
  receivedSnapshots = 0;
  /** Configurations that came into force, and those of them that were joint. */
  configurations = 0;
  jointConfigurations = 0;
  /** Members wiped after they were removed. */
  wiped = 0;
  /** Runs of programs, first ones too. */
  starts = 0;
  /** Reads for which an index came. */
  reads = 0;
  /** Client's entries applied by the member that proposed them. */
  writes = 0;

  /** Adds the counts of another run. */
  add(other: Coverage): void {
    for (const name of Object.keys(other) as (keyof Omit<Coverage, 'add'>)[]) this[name] += other[name];
  }
}
