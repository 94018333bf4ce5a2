/**
 * Numbers of HTTP/2, and the error that ends a connection.
 *
 * Source: RFC 9113, sections 6, 6.5.2 and 7.
 *
 * @module
 */

/** Types of frames. */
export const FrameType = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;

/** Flags of frames; some share a bit. */
export const Flag = { END_STREAM: 1, ACK: 1, END_HEADERS: 4, PADDED: 8, PRIORITY: 32 } as const;

/** Why a stream or a connection ends. */
export const ErrorCode = {
  NO_ERROR: 0,
  PROTOCOL_ERROR: 1,
  INTERNAL_ERROR: 2,
  FLOW_CONTROL_ERROR: 3,
  SETTINGS_TIMEOUT: 4,
  STREAM_CLOSED: 5,
  FRAME_SIZE_ERROR: 6,
  REFUSED_STREAM: 7,
  CANCEL: 8,
  COMPRESSION_ERROR: 9,
  ENHANCE_YOUR_CALM: 11,
} as const;
export type ErrorCode = (typeof ErrorCode)[keyof typeof ErrorCode];

/** Names of settings. */
export const Setting = {
  HEADER_TABLE_SIZE: 1,
  ENABLE_PUSH: 2,
  MAX_CONCURRENT_STREAMS: 3,
  INITIAL_WINDOW_SIZE: 4,
  MAX_FRAME_SIZE: 5,
  MAX_HEADER_LIST_SIZE: 6,
} as const;

/** What stands before the payload of a frame, in bytes. */
export const FRAME_HEAD_BYTES = 9;

/** The longest frame unless SETTINGS say otherwise, in bytes. Ours never do. */
export const DEFAULT_FRAME_BYTES = 16_384;

/** Flow control of streams and connections unless SETTINGS say otherwise, in bytes. */
export const DEFAULT_WINDOW_BYTES = 65_535;

/** The largest window, and the largest id of a stream. */
export const MAX_31_BITS = 2 ** 31 - 1;

/** What a client begins with. */
export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

/** The client has broken a rule that concerns the whole connection. The text holds nothing of what it sent. */
export class ConnectionError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, text: string) {
    super(text);
    this.name = 'ConnectionError';
    this.code = code;
  }
}
