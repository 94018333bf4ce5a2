/**
 * SETTINGS frames: what one end tells the other of itself.
 *
 * Source: RFC 9113, section 6.5.
 *
 * @module
 */
import { ConnectionError, DEFAULT_FRAME_BYTES, ErrorCode, MAX_31_BITS, Setting } from './protocol.ts';

/** A number of 16 bits, and one of 32. */
const SETTING_BYTES = 6;

/** What a client says that matters here; undefined what it does not say. */
export interface ClientSettings {
  initialWindowBytes: number | undefined;
  /** The least that it says: a table is as small as it ever had to be. */
  headerTableBytes: number | undefined;
}

/** The payload of a SETTINGS frame. */
export function encodeSettings(settings: readonly (readonly [setting: number, value: number])[]): Buffer {
  const payload = Buffer.alloc(settings.length * SETTING_BYTES);
  for (const [at, [setting, value]] of settings.entries()) {
    payload.writeUInt16BE(setting, at * SETTING_BYTES);
    payload.writeUInt32BE(value, at * SETTING_BYTES + 2);
  }
  return payload;
}

/** Reads the payload of a SETTINGS frame. @throws ConnectionError when a value is not allowed. */
export function readSettings(payload: Buffer): ClientSettings {
  if (payload.length % SETTING_BYTES !== 0) throw new ConnectionError(ErrorCode.FRAME_SIZE_ERROR, 'half of a setting');
  const found: ClientSettings = { initialWindowBytes: undefined, headerTableBytes: undefined };
  for (let at = 0; at < payload.length; at += SETTING_BYTES) {
    const value = payload.readUInt32BE(at + 2);
    switch (payload.readUInt16BE(at)) {
      case Setting.HEADER_TABLE_SIZE:
        found.headerTableBytes = Math.min(value, found.headerTableBytes ?? value);
        break;
      case Setting.ENABLE_PUSH:
        if (value > 1) throw new ConnectionError(ErrorCode.PROTOCOL_ERROR, 'push is neither on nor off');
        break;
      case Setting.INITIAL_WINDOW_SIZE:
        if (value > MAX_31_BITS) throw new ConnectionError(ErrorCode.FLOW_CONTROL_ERROR, 'a window is too large');
        found.initialWindowBytes = value;
        break;
      case Setting.MAX_FRAME_SIZE:
        if (value < DEFAULT_FRAME_BYTES || value >= 2 ** 24) {
          throw new ConnectionError(ErrorCode.PROTOCOL_ERROR, 'no length for a frame');
        }
    }
  }
  return found;
}
