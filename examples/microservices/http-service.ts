/**
 * An HTTP service that answers GET requests with JSON.
 *
 * @module
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { register } from './instance.ts';

/** Serves on a free port, and registers it. What `answer` throws is a 500. */
export async function serve(name: string, answer: (path: string) => Promise<object>): Promise<void> {
  const server = createServer((request, response) => {
    response.setHeader('content-type', 'application/json');
    answer(request.url ?? '/').then(
      (found) => response.end(JSON.stringify(found)),
      (error: unknown) => response.writeHead(500).end(JSON.stringify({ error: String(error) })),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const stop = (): Promise<void> => new Promise((resolve) => server.close(() => resolve()));
  await register({ name, port, protocol: 'http', stop });
}
