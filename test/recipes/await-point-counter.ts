/**
 * Counts the watchers that an actor asks etcd for, where nothing is to be struck and so there is no gate: that is a proxy
 * in this very process, and most of what a run costs.
 */
import { GrpcTransport, type GrpcTransportOptions } from '../../src/client/transport/grpc.ts';
import { credentialsSource } from '../../src/client/transport/grpc-tls.ts';
import type {
  EndpointAddress,
  StreamHandlers,
  StreamOptions,
  TransportFactory,
  TransportStream,
} from '../../src/client/transport/transport.ts';
import { Watch, type WatchRequest } from '../../src/protocol/generated/etcdserverpb.ts';
import type { Init, MethodDescriptor } from '../../src/protocol/wire.ts';

/** The client's own defaults. */
const OPTIONS: GrpcTransportOptions = {
  connectTimeoutMs: 3_000,
  keepaliveTimeMs: 10_000,
  keepaliveTimeoutMs: 3_000,
  maxReceiveBytes: 2 ** 31 - 1,
  credentials: credentialsSource(undefined),
  userAgent: 'etcdkit',
};

/** For the `transport` option of a client: calls `onCreate` for each request for a watcher, when it has been sent. */
export function countingWatches(onCreate: () => void): TransportFactory {
  return (endpoint) => new CountingTransport(endpoint, onCreate);
}

class CountingTransport extends GrpcTransport {
  readonly #onCreate: () => void;

  constructor(endpoint: EndpointAddress, onCreate: () => void) {
    super(endpoint, OPTIONS);
    this.#onCreate = onCreate;
  }

  override stream<I, O>(
    method: MethodDescriptor<I, O>,
    options: StreamOptions,
    handlers: StreamHandlers<O>,
  ): TransportStream<I> {
    const stream = super.stream(method, options, handlers);
    if (method.path !== Watch.watch.path) return stream;
    const send = (message: Init<I>): void => {
      stream.send(message);
      if ((message as Init<WatchRequest>).createRequest !== undefined) this.#onCreate();
    };
    return {
      send,
      halfClose: () => stream.halfClose(),
      pull: () => stream.pull(),
      cancel: () => stream.cancel(),
    };
  }
}
