/**
 * Takes in a message that was posted, and says which messages this member has no use for.
 *
 * @module
 */
import type { IncomingMessage } from 'node:http';
import type { PeerHost } from '../member/peers.ts';
import type { Message } from '../raft/types.ts';
import { LINK_TIMEOUT_MS, MAX_MESSAGE_BYTES } from './limits.ts';
import { decodeMessage } from './message-codec.ts';
import type { TransportContext } from './options.ts';
import { StallWatch } from './stall-watch.ts';

/** What a post is answered with. */
export interface Answer {
  readonly status: number;
  /** A refusal's reason. */
  readonly text: string;
}

/** Takes a message from a request's body. Never rejects. */
export async function receiveMessage(context: TransportContext, request: IncomingMessage): Promise<Answer> {
  let body: Buffer;
  try {
    body = await readBody(context, request);
  } catch {
    return { status: 400, text: 'error reading raft message' };
  }
  let message: Message | undefined;
  try {
    message = decodeMessage(body);
  } catch {
    return { status: 400, text: 'error unmarshalling raft message' };
  }
  // A snapshot without an image is of no use; it comes to another path.
  if (message === undefined || message.type === 'MsgSnap') return { status: 400, text: 'wrong raft message type' };
  context.observe.received?.(message.from, body.length);
  const refused = refuseMessage(context.host, message);
  if (refused) return refused;
  context.receive(message);
  return { status: 204, text: '' };
}

/** Why a message is not taken; undefined if it is. */
export function refuseMessage(host: PeerHost, { from, to }: Message): Answer | undefined {
  if (host.members.wasRemoved(from)) return { status: 403, text: 'cannot process message from removed member' };
  if (to !== host.id) return { status: 403, text: 'cannot process message to mismatch member' };
  return undefined;
}

async function readBody({ clock }: TransportContext, request: IncomingMessage): Promise<Buffer> {
  const watch = new StallWatch(clock, LINK_TIMEOUT_MS, () => request.destroy(new Error('nothing moves')));
  const chunks: Buffer[] = [];
  let held = 0;
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      watch.moved();
      held += chunk.length;
      if (held > MAX_MESSAGE_BYTES) throw new RangeError('the body is too long');
      chunks.push(chunk);
    }
    return Buffer.concat(chunks, held);
  } finally {
    watch.stop();
  }
}
