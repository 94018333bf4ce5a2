/**
 * Ready-made checks: over HTTP and TCP. gRPC's is in grpc-health.ts.
 *
 * Each run opens a connection of its own, as a client that comes for the first time does, and leaves none behind.
 *
 * @module
 */

import { request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { connect } from 'node:net';
import { InvalidArgumentError } from '../../../src/index.ts';
import { type Check, CheckFailedError } from './checks.ts';

/** What to ask over HTTP. */
export interface HttpCheckOptions {
  /** Where, `http:` or `https:`. */
  readonly url: string | URL;
  /** Default `GET`. */
  readonly method?: string | undefined;
  /** Sent with the request. Default: none of your own. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** PEM of the authorities that are trusted for `https:`. Default: those of Node.js. */
  readonly ca?: string | Uint8Array | undefined;
}

/** Passes when the answer's status is 200 to 299. Redirects are not followed: they are no answer of this instance. */
export function httpCheck({ url, method = 'GET', headers = {}, ca }: HttpCheckOptions): Check {
  const target = new URL(url);
  if (target.protocol !== 'http:' && target.protocol !== 'https:') {
    throw new InvalidArgumentError('the URL of a check begins with http: or https:');
  }
  const request = target.protocol === 'https:' ? requestHttps : requestHttp;
  return {
    run: (signal) =>
      new Promise<void>((resolve, reject) => {
        const options = { method, headers: { connection: 'close', ...headers }, agent: false, signal } as const;
        const asked = request(target, ca === undefined ? options : { ...options, ca: Buffer.from(ca) }, (answer) => {
          const { statusCode = 0 } = answer;
          // The status says it all; what follows it is not waited for.
          answer.on('error', () => {});
          asked.destroy();
          if (statusCode >= 200 && statusCode <= 299) resolve();
          else reject(new CheckFailedError(`it answered with status ${statusCode}`));
        });
        asked.on('error', reject);
        asked.end();
      }),
  };
}

/** What to connect to. */
export interface TcpCheckOptions {
  /** Default: `127.0.0.1`. */
  readonly host?: string | undefined;
  readonly port: number;
}

/** Passes when a connection is accepted. Nothing is sent. */
export function tcpCheck({ host = '127.0.0.1', port }: TcpCheckOptions): Check {
  return {
    run: (signal) =>
      new Promise<void>((resolve, reject) => {
        const socket = connect({ host, port, signal });
        socket.on('error', reject);
        socket.on('connect', () => {
          socket.destroy();
          resolve();
        });
      }),
  };
}
