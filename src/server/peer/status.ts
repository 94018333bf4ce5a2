/**
 * Whether another member is connected, and since when; and what there is to say about that.
 *
 * It is connected while at least one of the two streams from it is open: on those it says every few seconds that it
 * lives. Of a stream to it nobody can tell, as the kernel takes what is sent to a machine that has died. A stream that
 * breaks and comes back leaves the time as it is, as long as the other one held.
 *
 * What goes wrong with a member goes wrong ten times a second until it is mended. So each cause is told once, and again
 * only after something else was the matter, or nothing.
 *
 * @module
 */
import type { LogFields } from '../log.ts';
import type { TransportContext } from './options.ts';

/** See the head of this file. */
export class PeerStatus {
  readonly #context: TransportContext;
  readonly #id: bigint;
  readonly #complaints = new Map<string, string>();
  #links = 0;
  #since: number | undefined;

  constructor(context: TransportContext, id: bigint) {
    this.#context = context;
    this.#id = id;
  }

  /** When it became connected, on the host's clock; undefined if it is not. */
  get since(): number | undefined {
    return this.#since;
  }

  /** A stream from it has opened. */
  up(): void {
    if (++this.#links > 1) return;
    this.#since = this.#context.host.now();
    this.#tell('info', 'peer became active');
    this.#context.observe.connected?.(this.#id, true);
  }

  /** One has closed. */
  down(): void {
    if (--this.#links > 0) return;
    this.#since = undefined;
    this.#tell('warn', 'peer became inactive');
    this.#context.observe.connected?.(this.#id, false);
  }

  /** Something does not work, for that cause: see the head of this file. */
  complain(what: string, cause: string, fields: LogFields = {}): void {
    if (this.#complaints.get(what) === cause) return;
    this.#complaints.set(what, cause);
    this.#tell('warn', what, { ...fields, error: cause });
  }

  /** It works. */
  settled(what: string): void {
    this.#complaints.delete(what);
  }

  #tell(level: 'info' | 'warn', message: string, fields: LogFields = {}): void {
    this.#context.log.write(level, 'peer/status.ts', message, { 'peer-id': this.#id.toString(16), ...fields });
  }
}

/** What went wrong, in few words that stay the same while the cause does. */
export function causeOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return code ?? message;
}
