/**
 * How one shell tells the process in another shell what to do with its cluster: HTTP on 127.0.0.1, on any free port, for
 * who has the token of the state file.
 *
 * `POST /<action>/<member>` does something to a member, `POST /down` ends all, `GET /status` says how they are. An answer
 * is JSON; what can't be done has status 409 and says why in `error`.
 *
 * @module
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { MEMBER_ACTIONS } from './settings.ts';
import type { Control } from './state-file.ts';
import { ActionError, type Supervisor } from './supervisor.ts';

/** Why a running cluster could not be told something. */
export class ControlError extends Error {
  override name = 'ControlError';
}

/** Hears what other shells want. */
export class ControlServer {
  readonly control: Control;
  readonly #server: http.Server;

  private constructor(server: http.Server, token: string) {
    this.#server = server;
    this.control = { pid: process.pid, port: (server.address() as AddressInfo).port, token };
  }

  /** @param down Ends all; it is answered before. */
  static async open(supervisor: Supervisor, down: () => void): Promise<ControlServer> {
    const token = randomBytes(24).toString('hex');
    const server = http.createServer((request, response) => {
      void answer(request, response, token, supervisor, down);
    });
    server.listen({ host: '127.0.0.1', port: 0 });
    await once(server, 'listening');
    server.unref();
    return new ControlServer(server, token);
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  token: string,
  supervisor: Supervisor,
  down: () => void,
): Promise<void> {
  const end = (status: number, body: unknown, then?: () => void): void => {
    response.writeHead(status, { 'content-type': 'application/json', connection: 'close' });
    response.end(JSON.stringify(body), then);
  };
  // So that what comes with the request is not in the way.
  request.resume();
  if (!isSame(request.headers.authorization ?? '', `Bearer ${token}`)) return end(401, { error: 'not allowed' });
  const [, name = '', member] = (request.url ?? '').split('/');
  try {
    if (request.method === 'GET' && name === 'status') return end(200, { members: await supervisor.look() });
    if (request.method === 'POST' && name === 'down') return end(200, {}, down);
    const action = MEMBER_ACTIONS.find((known) => known === name);
    if (request.method !== 'POST' || action === undefined || member === undefined)
      return end(404, { error: 'unknown' });
    await supervisor.act(action, decodeURIComponent(member));
    end(200, {});
  } catch (error) {
    end(error instanceof ActionError ? 409 : 500, { error: error instanceof Error ? error.message : 'it failed' });
  }
}

function isSame(given: string, wanted: string): boolean {
  const [a, b] = [Buffer.from(given), Buffer.from(wanted)];
  return a.length === b.length && timingSafeEqual(a, b);
}

/** How long an answer may take, in ms: stopping a member is waited for. */
const ANSWER_MS = 30_000;

/** Tells a running cluster something. @throws ControlError it does not run, or refuses. */
export async function tell(control: Control, method: 'GET' | 'POST', path: string): Promise<unknown> {
  const { port, token } = control;
  const request = http.request({
    host: '127.0.0.1',
    port,
    method,
    path,
    headers: { authorization: `Bearer ${token}` },
    timeout: ANSWER_MS,
  });
  request.once('timeout', () => request.destroy(new Error('it does not answer')));
  request.end();
  let status: number | undefined;
  let text = '';
  try {
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    status = response.statusCode;
    for await (const chunk of response.setEncoding('utf8')) text += chunk;
  } catch (cause) {
    throw new ControlError('no cluster runs there', { cause });
  }
  const body = parsed(text);
  // Somebody else has the port now.
  if (status === 401 || body === undefined) throw new ControlError('no cluster runs there');
  if (status !== 200) throw new ControlError(typeof body.error === 'string' ? body.error : `status ${status}`);
  return body;
}

function parsed(text: string): { readonly error?: unknown } | undefined {
  try {
    const body: unknown = JSON.parse(text);
    return typeof body === 'object' && body !== null ? body : undefined;
  } catch {
    return undefined;
  }
}
