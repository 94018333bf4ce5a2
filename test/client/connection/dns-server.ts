/** A DNS server with a few SRV records (RFC 1035, RFC 2782), for a resolver that is pointed at it. */
import dgram from 'node:dgram';
import { once } from 'node:events';

export interface SrvAnswer {
  readonly target: string;
  readonly port: number;
  readonly priority: number;
  readonly weight: number;
}

const SRV = 33;
const IN = 1;
const NAME_ERROR = 3;

/** Listens on a loopback port of its own and counts the questions. */
export class DnsServer implements AsyncDisposable {
  readonly questions: string[] = [];
  readonly #socket = dgram.createSocket('udp4');
  readonly #records: Readonly<Record<string, readonly SrvAnswer[]>>;

  private constructor(records: Readonly<Record<string, readonly SrvAnswer[]>>) {
    this.#records = records;
    this.#socket.on('message', (query, from) => this.#socket.send(this.#answer(query), from.port, from.address));
  }

  static async start(records: Readonly<Record<string, readonly SrvAnswer[]>>): Promise<DnsServer> {
    const server = new DnsServer(records);
    server.#socket.bind(0, '127.0.0.1');
    await once(server.#socket, 'listening');
    return server;
  }

  get address(): string {
    return `127.0.0.1:${this.#socket.address().port}`;
  }

  #answer(query: Buffer): Buffer {
    const { name, end } = readName(query, 12);
    this.questions.push(name);
    const records = this.#records[name];
    const header = Buffer.alloc(12);
    query.copy(header, 0, 0, 2);
    header.writeUInt16BE(0x8400 | (records === undefined ? NAME_ERROR : 0), 2);
    header.writeUInt16BE(1, 4);
    header.writeUInt16BE(records?.length ?? 0, 6);
    const question = query.subarray(12, end + 4);
    return Buffer.concat([header, question, ...(records ?? []).map((record) => srvRecord(record))]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#socket, 'close');
    this.#socket.close();
    await closed;
  }
}

function srvRecord({ target, port, priority, weight }: SrvAnswer): Buffer {
  const name = writeName(target);
  const head = Buffer.alloc(18);
  head.writeUInt16BE(0xc00c, 0); // the name in the question
  head.writeUInt16BE(SRV, 2);
  head.writeUInt16BE(IN, 4);
  head.writeUInt32BE(60, 6);
  head.writeUInt16BE(6 + name.length, 10);
  head.writeUInt16BE(priority, 12);
  head.writeUInt16BE(weight, 14);
  head.writeUInt16BE(port, 16);
  return Buffer.concat([head, name]);
}

function readName(message: Buffer, start: number): { name: string; end: number } {
  const labels: string[] = [];
  let at = start;
  for (let length = message[at] ?? 0; length > 0; length = message[at] ?? 0) {
    labels.push(message.toString('ascii', at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join('.').toLowerCase(), end: at + 1 };
}

function writeName(name: string): Buffer {
  const labels = name.split('.').map((label) => Buffer.from(`${String.fromCharCode(label.length)}${label}`));
  return Buffer.concat([...labels, Buffer.from([0])]);
}
