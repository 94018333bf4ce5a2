/**
 * Takes in a snapshot: the message's length, the message, and the image, in the body of one POST.
 *
 * The image goes on to the host as it comes, and no faster than the host takes it; only the message is held here. If the
 * body ends before what its head announced, the host sees an error and not an end, so no half image passes for a whole.
 * The answer is 204 once the host has it safe.
 *
 * @module
 */
import type { IncomingMessage } from 'node:http';
import type { Message } from '../raft/types.ts';
import { FrameError, readLength } from './frames.ts';
import { idText } from './headers.ts';
import { LINK_TIMEOUT_MS, MAX_MESSAGE_BYTES } from './limits.ts';
import { decodeMessage } from './message-codec.ts';
import { type Answer, refuseMessage } from './message-receiver.ts';
import type { TransportContext } from './options.ts';
import { StallWatch } from './stall-watch.ts';

/** Takes a snapshot from a request's body. Never rejects. */
export async function receiveSnapshot(context: TransportContext, request: IncomingMessage): Promise<Answer> {
  const { clock, host, log, observe } = context;
  const startedAt = clock.now();
  const body = watched(context, request);
  let message: Message | undefined;
  let rest: Buffer;
  try {
    [message, rest] = await readHead(body);
  } catch {
    return { status: 400, text: 'failed to decode raft message' };
  }
  if (message?.type !== 'MsgSnap') return { status: 400, text: 'wrong raft message type' };
  const { from } = message;
  const refused = refuseMessage(host, message);
  if (refused) return refused;
  let ok = false;
  let size = 0;
  const count = (bytes: number): void => {
    size += bytes;
    observe.received?.(from, bytes);
  };
  try {
    await host.receiveSnapshot(message, image(rest, body, count));
    ok = true;
    log.write('info', 'peer/snapshot-receiver.ts', 'received and saved database snapshot', {
      'remote-snapshot-sender-id': idText(from),
      'incoming-snapshot-index': message.snapshot?.index,
      bytes: size,
    });
    return { status: 204, text: '' };
  } catch {
    // The reason is the host's to tell: it may name files.
    return { status: 500, text: 'failed to save KV snapshot' };
  } finally {
    observe.snapshotReceived?.(from, ok, clock.now() - startedAt);
  }
}

/**
 * A body that fails when nothing comes for too long while somebody waits for it. Whoever stops before its end leaves it
 * as it is, so that there is still a connection to answer on.
 */
async function* watched(
  { clock }: TransportContext,
  request: IncomingMessage,
): AsyncGenerator<Buffer, void, undefined> {
  const chunks = request[Symbol.asyncIterator]();
  for (;;) {
    const watch = new StallWatch(clock, LINK_TIMEOUT_MS, () => request.destroy(new Error('nothing moves')));
    const step = await chunks.next().finally(() => watch.stop());
    if (step.done) return;
    yield step.value as Buffer;
  }
}

/** The message, and what has come after it. @throws FrameError there is none. */
async function readHead(body: AsyncGenerator<Buffer, void, undefined>): Promise<[Message | undefined, Buffer]> {
  const chunks: Buffer[] = [];
  let held = 0;
  let wanted = 8;
  for (;;) {
    const step = await body.next();
    if (step.done) throw new FrameError('the body ends before its message');
    chunks.push(step.value);
    held += step.value.length;
    if (held < wanted) continue;
    const all = Buffer.concat(chunks);
    wanted = 8 + readLength(all, MAX_MESSAGE_BYTES);
    if (held >= wanted) return [decodeMessage(all.subarray(8, wanted)), all.subarray(wanted)];
    chunks.splice(0, chunks.length, all);
  }
}

async function* image(
  first: Buffer,
  body: AsyncIterable<Buffer>,
  received: (bytes: number) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (first.length > 0) {
    received(first.length);
    yield first;
  }
  for await (const chunk of body) {
    received(chunk.length);
    yield chunk;
  }
}
