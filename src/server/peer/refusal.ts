/**
 * What another member means that answers 403 to what was posted.
 *
 * Either that the sender was removed from the cluster, or that the message is for somebody else: another member may have
 * come in the place of the one that it is for, at his address, while the sender was away and did not hear of it. The
 * first is the end of the sender, the second is none of its business; only the text tells them apart. Whoever else says
 * 403, such as a proxy between, means neither.
 *
 * @module
 */
import type { IncomingMessage } from 'node:http';

/** As etcd and this server say it, the one in JSON and the other not. */
const REMOVED = 'cannot process message from removed member';
/** Longest text that is looked at, in bytes: that one, with what may be around it. */
const TEXT_BYTES = 1_024;

/** Takes all of an answer. @returns Tells, once it has come, whether it says that this member was removed. */
export function readRefusal(response: IncomingMessage): () => boolean {
  let text = '';
  response.setEncoding('utf8').on('data', (chunk: string) => {
    if (text.length < TEXT_BYTES) text += chunk;
  });
  return () => response.statusCode === 403 && text.slice(0, TEXT_BYTES).includes(REMOVED);
}
