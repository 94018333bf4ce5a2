/**
 * Bytes that are no valid protobuf message, or a value that no field can hold.
 *
 * Decoding a reply never throws anything else; a caller that sees one is talking to something that is not etcd, or to
 * a broken proxy.
 */
export class WireError extends Error {
  override readonly name = 'WireError';

  /** What is wrong, without the place. */
  readonly reason: string;

  /** Full name of the message it happened in, such as `mvccpb.KeyValue`. */
  readonly messageType: string | undefined;

  /** Name of the field it happened in; its number in decimal when the message has no such field. */
  readonly field: string | undefined;

  /** Distance in bytes from the start of the input; `undefined` when encoding. */
  readonly offset: number | undefined;

  constructor(reason: string, place: { messageType?: string; field?: string; offset?: number | undefined } = {}) {
    const { messageType, field, offset } = place;
    const where = messageType === undefined ? '' : `${messageType}${field === undefined ? '' : `.${field}`}: `;
    super(`${where}${reason}${offset === undefined ? '' : ` at byte ${offset}`}`);
    this.reason = reason;
    this.messageType = messageType;
    this.field = field;
    this.offset = offset;
  }
}

/** The fields of one message, number to name. Looked at only on the way to an error or past an unknown field. */
export type FieldNames = Readonly<Record<number, string>>;
