/** Small servers that are almost what a client expects: HTTP/2 with hand-made gRPC answers, with or without TLS. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import http2 from 'node:http2';
import net from 'node:net';
import type tls from 'node:tls';
import { StatusResponse } from '../../../src/protocol/generated/etcdserverpb.ts';
import { frameMessage } from '../../support/grpc-frames.ts';
import { tieProcess } from '../../support/lifeline.ts';

export interface Listening extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
}

/** A server on a port of its own; open sockets end with it. */
export async function listen(server: net.Server, host = '127.0.0.1'): Promise<Listening> {
  const sockets = new Set<net.Socket>();
  server.on('connection', (socket: net.Socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => sockets.delete(socket));
  });
  server.listen(0, host);
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  return {
    port,
    address: net.isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`,
    async [Symbol.asyncDispose]() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** A TCP server that does to each connection what it is told. */
export function tcpServer(serve: (socket: net.Socket) => void): Promise<Listening> {
  return listen(net.createServer({ allowHalfOpen: true }, serve));
}

/** Listens, and then never runs again: what the kernel does for it is all that clients get. */
const DEAF = `
const server = require('node:net').createServer();
server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
  require('node:fs').writeSync(1, String(server.address().port));
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
});
`;

/**
 * A port where nothing answers to a SYN, as behind a firewall that drops packets. It listens for two connections that
 * nobody accepts, and has them; what comes after them the kernel (Linux) drops.
 */
export async function deafServer(): Promise<Listening> {
  const child = spawn(process.execPath, ['-e', DEAF], { stdio: ['ignore', 'pipe', 'inherit'] });
  tieProcess(child);
  const [text] = (await once(child.stdout, 'data')) as [Buffer];
  const port = Number(text);
  const sockets = [net.connect(port, '127.0.0.1'), net.connect(port, '127.0.0.1')];
  for (const socket of sockets) socket.on('error', () => {});
  await Promise.all(sockets.map((socket) => once(socket, 'connect')));
  return {
    port,
    address: `127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** Answers every gRPC call with an OK status and this message. */
export function answering(message: Uint8Array): (stream: http2.ServerHttp2Stream) => void {
  return (stream) => {
    stream.on('error', () => {});
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.once('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.end(frameMessage(message));
  };
}

/** What a member says of itself. */
export const STATUS = StatusResponse.encode({
  header: { clusterId: 7n, memberId: 1n },
  version: '3.5.30',
  leader: 1n,
});

/** An HTTP/2 server over TLS; counts its handshakes and the names that clients asked for. */
export class TlsServer implements AsyncDisposable {
  /** The server name of each handshake that came to its end; `false` when there was none. */
  readonly names: (string | false)[] = [];
  readonly resumed: boolean[] = [];
  readonly #server: http2.Http2SecureServer;
  #listening!: Listening;

  private constructor(options: tls.TlsOptions) {
    this.#server = http2.createSecureServer(options as http2.SecureServerOptions);
    this.#server.on('stream', answering(STATUS));
    this.#server.on('sessionError', () => {});
    this.#server.on('tlsClientError', () => {});
    this.#server.on('secureConnection', (socket: tls.TLSSocket & { servername?: string | false }) => {
      this.names.push(socket.servername ?? false);
      this.resumed.push(socket.isSessionReused());
    });
  }

  static async start(options: tls.TlsOptions): Promise<TlsServer> {
    const server = new TlsServer(options);
    server.#listening = await listen(server.#server);
    return server;
  }

  get port(): number {
    return this.#listening.port;
  }

  get address(): string {
    return this.#listening.address;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#listening[Symbol.asyncDispose]();
  }
}
