/**
 * What happened to a fleet: the lives of its instances, what each observer saw of them, and when the store was away.
 *
 * An observer is a process that discovers all services and picks from them; most have instances of their own too. All
 * moments are milliseconds of one clock, the machine's monotonic one, which is the same in all its processes.
 */

/** A stretch of time, in milliseconds. */
export interface Span {
  readonly from: number;
  readonly until: number;
}

/** One instance, from its registration to its end. An id is used once. */
export interface Life {
  readonly id: string;
  readonly service: string;
  /** When its registration was asked for. */
  readonly beganAt: number;
  /** When it was confirmed; absent if never. */
  readyAt?: number | undefined;
  /** When it was told to drain. */
  drainsAt?: number | undefined;
  /** When it took no more requests: its drain had ended, or its process was killed. */
  goneAt?: number | undefined;
  /** How it went. */
  how?: 'drained' | 'killed' | undefined;
}

/** An observer's list took an instance in, or dropped it. */
export interface Sighting {
  readonly id: string;
  readonly at: number;
  readonly listed: boolean;
}

/** A request. Of several to one instance within a moment, the last stands for all. */
export interface Pick {
  readonly id: string;
  readonly at: number;
}

/** What one process saw. */
export interface Observer {
  readonly name: string;
  /** From when it had a list of every service, to when it was killed or told to stop. Absent `from`: it never had. */
  from?: number | undefined;
  until: number;
  readonly sightings: Sighting[];
  readonly picks: Pick[];
  /** When all of its lists were followed again, or one of them was not any more, by its own word. */
  readonly follows: { readonly at: number; readonly following: boolean }[];
  /** When its way to the store was cut; that of its own instances was not. */
  readonly cuts: Span[];
}

/** All of it. */
export interface History {
  readonly lives: ReadonlyMap<string, Life>;
  readonly observers: readonly Observer[];
  /** When the store was away, for everybody. Sorted, not overlapping. */
  readonly outages: readonly Span[];
}
