/**
 * What Go clients of etcd 3.4 and older write as the authority of a request, mended.
 *
 * For calls to one member (Status, HashKV, Defragment, MoveLeader, …) they dial the endpoint as it was given, and send
 * all of it as `:authority`: `http://10.0.0.1:2379`. An authority has no slashes (RFC 9113, 8.3.1), and the HTTP/2 of
 * Node.js resets such a stream before any of our code sees it. The server of etcd takes it.
 *
 * So the first HEADERS frame of a connection is looked at before Node gets it. The text is in it in Huffman's code
 * (RFC 7541, appendix B), where `/` and `.` have six bits each: the two slashes become dots, in their places, and nothing
 * moves. Later requests refer to that first one. Nobody here uses an authority.
 *
 * Go's clients wait for the server's SETTINGS with their first HEADERS. If nothing follows a client's SETTINGS, it gets
 * an empty SETTINGS frame from here, before that of Node: several are allowed. Its acknowledgement is taken out again,
 * since Node would take it for that of its own. Only connections that begin with empty SETTINGS are kept here so, as
 * Go's do; what else there is, and anything that is no HTTP/2, goes on to Node as it came, at once. So does a connection
 * on which nothing is asked for a while: one that is dialled to call a single member calls it then.
 *
 * @module
 */
import type { Duplex } from 'node:stream';
import type { Clock } from '../../support/clock.ts';

const PREFACE_BYTES = 24;
const HEAD_BYTES = 9;

const HEADERS = 1;
const SETTINGS = 4;
const WINDOW_UPDATE = 8;
const ACKNOWLEDGED = 1;

const EMPTY_SETTINGS = Buffer.of(0, 0, 0, SETTINGS, 0, 0, 0, 0, 0);

/** Until SETTINGS say otherwise. */
const MAX_FRAME_BYTES = 16_384;

/** More than a client may send before it has acknowledged: a window of data and a few heads. */
const LIMIT_BYTES = 256 * 1024;

/** `:authority` as a literal that is remembered (RFC 7541, 6.2.1). */
const AUTHORITY = 0x41;
const HUFFMAN = 0x80;
const HTTP = Buffer.from('9d29aee30c', 'hex');
const HTTPS = Buffer.from('9d29ad1718', 'hex');

export interface MendOptions {
  readonly clock: Clock;
  /** How long to look out for the first HEADERS, and how long a client may take to acknowledge, in ms. */
  readonly patienceMs: number;
  /** Gets the connection, with all that came put back. Not called if it ends before. */
  readonly serve: (socket: Duplex) => void;
}

/** Looks at the beginning of an HTTP/2 connection of which nothing has been read. */
export function mendFirstHeaders(socket: Duplex, { clock, patienceMs, serve }: MendOptions): void {
  const beginning = new Beginning();
  const go = (next: Next): void => {
    if (next === 'settings') socket.write(EMPTY_SETTINGS);
    else if (next === 'refuse') socket.destroy();
    else if (next === 'serve') {
      done();
      if (beginning.bytes.length > 0) socket.unshift(beginning.bytes);
      serve(socket);
    }
  };
  const look = (): void => {
    const chunk = socket.read() as Buffer | null;
    if (chunk !== null) go(beginning.add(chunk));
  };
  const end = (): void => {
    socket.destroy();
  };
  const timer = clock.after(patienceMs, () => go(beginning.isEven ? 'serve' : 'refuse'), { background: true });
  const done = (): void => {
    timer.cancel();
    socket.off('readable', look);
    socket.off('end', end);
    socket.off('close', done);
  };
  socket.on('readable', look);
  socket.on('end', end);
  socket.on('close', done);
  look();
}

/** What to do with a connection: wait for more, send SETTINGS, give it to Node, or close it. */
type Next = 'wait' | 'settings' | 'serve' | 'refuse';

/** The bytes of a connection up to the first HEADERS frame, mended. */
class Beginning {
  bytes: Buffer = Buffer.alloc(0);
  /** Where the next frame begins. */
  #at = PREFACE_BYTES;
  /** A frame was seen after which there is nothing to mend. */
  #past = false;
  #sent = false;
  #acknowledged = false;

  /** Whether every SETTINGS frame from here was acknowledged: only then Node may have it. */
  get isEven(): boolean {
    return this.#sent === this.#acknowledged;
  }

  add(chunk: Buffer): Next {
    this.bytes = this.bytes.length === 0 ? chunk : Buffer.concat([this.bytes, chunk]);
    for (;;) {
      const { bytes } = this;
      const at = this.#at;
      if (this.#past && this.isEven) return 'serve';
      if (bytes.length < at + HEAD_BYTES) return this.#more();
      const length = bytes.readUIntBE(at, 3);
      const [type, flags] = [bytes[at + 3], bytes[at + 4]];
      if (at === PREFACE_BYTES && !(type === SETTINGS && length === 0 && flags === 0)) return 'serve';
      // Nobody may send that much at once: Node has an answer to it.
      if (length > MAX_FRAME_BYTES && this.isEven) return 'serve';
      const end = at + HEAD_BYTES + length;
      if (bytes.length < end) return this.#more();
      if (type === SETTINGS && flags === ACKNOWLEDGED && this.#sent && !this.#acknowledged) {
        this.#acknowledged = true;
        this.bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(end)]);
        continue;
      }
      if (type === HEADERS && !this.#past) mend(bytes.subarray(at + HEAD_BYTES, end));
      if (at > PREFACE_BYTES && type !== WINDOW_UPDATE) this.#past = true;
      this.#at = end;
    }
  }

  #more(): Next {
    if (this.bytes.length > LIMIT_BYTES) return 'refuse';
    if (this.#sent || this.#at === PREFACE_BYTES || this.bytes.length > this.#at) return 'wait';
    this.#sent = true;
    return 'settings';
  }
}

/** Makes dots of the slashes behind the scheme in an authority, if that is in the block of headers. */
function mend(block: Buffer): void {
  for (let at = block.indexOf(AUTHORITY); at >= 0; at = block.indexOf(AUTHORITY, at + 1)) {
    const text = at + 2;
    const [size = 0, last = 0] = [block[at + 1], block[text + HTTP.length]];
    if ((size & HUFFMAN) === 0) continue;
    const start = block.subarray(text, text + HTTP.length);
    // The second slash ends in the byte behind those five.
    if (start.equals(HTTP) && last < 0x80) {
      block.set([0xe2, 0xeb, last | 0x80], text + 3);
      return;
    }
    if (start.equals(HTTPS) && last >> 2 === 0x18) {
      block.set([0x17, 0x5c | (last & 3)], text + 4);
      return;
    }
  }
}
