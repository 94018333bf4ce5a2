import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { expect, it } from 'vitest';
import { parseEndpoint } from '../../../src/client/transport/address.ts';
import { GrpcTransport } from '../../../src/client/transport/grpc.ts';
import { ConnectionCredentials } from '../../../src/client/transport/grpc-connector.ts';
import { deferred } from '../../../src/support/signals.ts';

it('a transport that is closed while its credentials are made connects to nobody', async () => {
  let connections = 0;
  const server = net.createServer((socket) => {
    connections += 1;
    socket.destroy();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const credentials = deferred<ConnectionCredentials>();
  const transport = new GrpcTransport(parseEndpoint(`127.0.0.1:${port}`, false), {
    connectTimeoutMs: 3_000,
    keepaliveTimeMs: 0,
    keepaliveTimeoutMs: 0,
    maxReceiveBytes: 2 ** 31 - 1,
    credentials: () => credentials.promise,
    userAgent: 'test',
  });
  const connecting = transport.connect();
  transport.close();
  credentials.resolve(new ConnectionCredentials(undefined));
  await expect(connecting).rejects.toMatchObject({ name: 'ConnectError', kind: 'closed' });
  expect(transport.state).toBe('closed');
  expect(connections).toBe(0);
  server.close();
  await once(server, 'close');
});
