/** The framing of gRPC messages inside HTTP/2 data. */

/** Before each message: whether it is compressed, and its length. */
export const GRPC_HEADER_BYTES = 5;

/** Cuts a byte stream into whole gRPC messages, their five-byte headers included. */
export class MessageSplitter {
  #rest: Buffer = Buffer.alloc(0);

  /** The messages that `chunk` completes. */
  push(chunk: Buffer): Buffer[] {
    this.#rest = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk;
    const messages: Buffer[] = [];
    while (this.#rest.length >= GRPC_HEADER_BYTES) {
      const size = GRPC_HEADER_BYTES + this.#rest.readUInt32BE(1);
      if (this.#rest.length < size) break;
      messages.push(this.#rest.subarray(0, size));
      this.#rest = this.#rest.subarray(size);
    }
    return messages;
  }
}

/** A protobuf message with its gRPC header, uncompressed. */
export function frameMessage(payload: Uint8Array): Buffer {
  const header = Buffer.alloc(GRPC_HEADER_BYTES);
  header.writeUInt32BE(payload.length, 1);
  return Buffer.concat([header, payload]);
}

/** `grpc-message` is percent-encoded UTF-8. */
export function encodeGrpcMessage(message: string): string {
  return message.replace(/[^ !-$&-~]+/gu, (text) => encodeURIComponent(text));
}
