/** Sends a unary gRPC call as it was recorded: for requests that get there late, when whoever made them has gone. */
import { once } from 'node:events';
import http2 from 'node:http2';
import { frameMessage } from './grpc-frames.ts';

/** Sends one request to `target` (`host:port`), without metadata, and waits for its end. Returns the gRPC status. */
export async function sendUnary(target: string, path: string, payload: Buffer): Promise<number> {
  const session = http2.connect(`http://${target}`);
  try {
    await once(session, 'connect');
    const stream = session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    let status = Number.NaN;
    const read = (headers: http2.IncomingHttpHeaders): void => {
      if (headers['grpc-status'] !== undefined) status = Number(headers['grpc-status']);
    };
    stream.on('response', read).on('trailers', read).resume();
    stream.end(frameMessage(payload));
    await once(stream, 'close');
    return status;
  } finally {
    session.destroy();
  }
}
