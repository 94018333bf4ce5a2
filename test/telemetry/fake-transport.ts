/** A transport that answers as it is told, and keeps the metadata of every call. */
import {
  type CallFailure,
  type CallMetadata,
  GrpcCode,
  type Transport,
  TransportError,
  type TransportFactory,
} from '../../src/index.ts';

export interface SentCall {
  readonly endpoint: string;
  readonly path: string;
  readonly metadata: CallMetadata;
}

/** Which answer a call gets: an answer's fields, or a failure. */
export type Answer = { readonly fail: CallFailure } | object;

export const unavailable: CallFailure = {
  grpcCode: GrpcCode.UNAVAILABLE,
  details: 'the connection went away',
  sent: 'no',
};

/** Transports of a cluster in which `answer` decides; probes are not asked about, nor kept. */
export function fakeTransport(answer: (call: SentCall) => Answer): { factory: TransportFactory; calls: SentCall[] } {
  const calls: SentCall[] = [];
  const factory: TransportFactory = ({ name }): Transport => ({
    state: 'ready',
    connect: async () => {},
    async unary(method, _request, { metadata }) {
      const empty = method.response.decode(new Uint8Array());
      if (method.path === '/etcdserverpb.Maintenance/Status') return { ...empty, leader: 1n, version: '3.5.13' };
      const call = { endpoint: name, path: method.path, metadata };
      calls.push(call);
      const answered = answer(call);
      if ('fail' in answered) throw new TransportError(answered.fail);
      return { ...empty, ...answered };
    },
    stream() {
      throw new Error('this cluster has no streams');
    },
    close() {},
  });
  return { factory, calls };
}
