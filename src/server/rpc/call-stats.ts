/**
 * What is counted of the calls of a server, method by method.
 *
 * Plain numbers, since they change several times in each call; the metrics read them when they are scraped. Calls by
 * JSON count like those by gRPC: etcd's gateway calls its own gRPC server.
 *
 * @module
 */
import type { MethodTable } from './call.ts';

/** Counts of one method. Each only grows. */
export interface MethodStats {
  started: number;
  messagesReceived: number;
  messagesSent: number;
  /** Calls that ended, by their status code. */
  readonly handled: number[];
}

/** Status codes run from 0 to this. */
const LAST_CODE = 16;

/** Counts of all methods, by path, and of the bytes of their messages. */
export class CallStats {
  readonly methods = new Map<string, MethodStats>();
  /** Bytes of the messages that clients sent, without framing. */
  receivedBytes = 0;
  /** Bytes of the messages that clients were sent, without framing. */
  sentBytes = 0;

  /** The counts of a method; all are zero at first, so that no series starts in the middle. */
  of(path: string): MethodStats {
    let stats = this.methods.get(path);
    if (stats === undefined) {
      const handled = new Array<number>(LAST_CODE + 1).fill(0);
      stats = { started: 0, messagesReceived: 0, messagesSent: 0, handled };
      this.methods.set(path, stats);
    }
    return stats;
  }

  /** Makes sure that every method of a table has its counts. */
  cover(methods: MethodTable): void {
    for (const path of methods.keys()) this.of(path);
  }
}
