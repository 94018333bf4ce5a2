/**
 * The transport over `@grpc/grpc-js`; the only file, with its neighbours named `grpc-*`,
 * that knows the library.
 *
 * One channel is one connection: when it breaks, the channel is thrown away and the next
 * `connect` makes a fresh one. That gives three things that a long-lived channel does not:
 * certificates are read anew for each connection, a connect timeout that covers the
 * HTTP/2 handshake, and certainty: a call starts only on a channel that is ready, so one
 * that finds no connection has provably never been sent.
 *
 * Calls go through `Channel.createCall`, the layer below grpc-js's `Client`: it saves the
 * `Error` and the emitters that `Client` makes for each call (about a seventh of the
 * time), and reads one message at a time, which is the back-pressure we need.
 *
 * @module
 */

import { Channel, type ChannelOptions, connectivityState, Metadata } from '@grpc/grpc-js';
import { GrpcCode } from '../../protocol/status.ts';
import type { Init, MethodDescriptor } from '../../protocol/wire.ts';
import { systemClock, type Timer } from '../../support/clock.ts';
import { type Deferred, deferred } from '../../support/signals.ts';
import type { ConnectionCredentials } from './grpc-connector.ts';
import { connectError } from './grpc-failures.ts';
import { abortableTarget } from './grpc-resolver.ts';
import { GrpcStream, type RawCall } from './grpc-stream.ts';
import type { CredentialsSource } from './grpc-tls.ts';
import { UnaryCall } from './grpc-unary.ts';
import {
  type CallFailure,
  type CallMetadata,
  ConnectError,
  type EndpointAddress,
  type StreamHandlers,
  type StreamOptions,
  type Transport,
  TransportError,
  type TransportState,
  type TransportStream,
  type UnaryOptions,
} from './transport.ts';

/** Settings of every connection of a client. */
export interface GrpcTransportOptions {
  /** How long a connection may take, TCP, TLS and HTTP/2 handshake together. */
  readonly connectTimeoutMs: number;
  /** How long a connection in use may be silent before it is pinged; 0 for no pings. */
  readonly keepaliveTimeMs: number;
  /** How long the answer to a ping may take before the connection counts as dead. */
  readonly keepaliveTimeoutMs: number;
  /** The largest answer that is accepted. */
  readonly maxReceiveBytes: number;
  /** Makes the channel's credentials, anew for each connection. */
  readonly credentials: CredentialsSource;
  readonly userAgent: string;
}

const metadataCache = new WeakMap<CallMetadata, Metadata>();

function toGrpcMetadata(metadata: CallMetadata): Metadata {
  let cached = metadataCache.get(metadata);
  if (cached === undefined) {
    cached = new Metadata();
    for (const [key, value] of Object.entries(metadata)) cached.set(key, value);
    metadataCache.set(metadata, cached);
  }
  return cached; // grpc-js clones it at the start of a call
}

/** A channel, and the credentials that hold its socket. */
interface Connection {
  readonly channel: Channel;
  readonly credentials: ConnectionCredentials;
}

/** One connection to one endpoint, by grpc-js. */
export class GrpcTransport implements Transport {
  readonly #endpoint: EndpointAddress;
  readonly #options: GrpcTransportOptions;
  readonly #running = new Set<RawCall>();
  #connection: Connection | undefined;
  #connecting: Deferred<void> | undefined;
  /** Ends the attempt that is under way. */
  #giveUp: ((error: ConnectError) => void) | undefined;
  #closed = false;

  constructor(endpoint: EndpointAddress, options: GrpcTransportOptions) {
    this.#endpoint = endpoint;
    this.#options = options;
  }

  get state(): TransportState {
    if (this.#closed) return 'closed';
    if (this.#connecting !== undefined) return 'connecting';
    return this.#readyChannel() === undefined ? 'idle' : 'ready';
  }

  #readyChannel(): Channel | undefined {
    const channel = this.#connection?.channel;
    return channel?.getConnectivityState(false) === connectivityState.READY ? channel : undefined;
  }

  async connect(): Promise<void> {
    if (this.#closed) throw new ConnectError('closed', 'the transport is closed');
    if (this.#connecting !== undefined) return this.#connecting.promise;
    if (this.state === 'ready') return;
    const connecting = deferred<void>();
    this.#connecting = connecting;
    // The channel before this one goes without ceremony: what still runs on it may finish.
    this.#connection?.channel.close();
    this.#connection = undefined;
    try {
      const connection = await this.#open();
      if (this.#closed) {
        connection.channel.close();
        connection.credentials.drop();
        throw closedMeanwhile();
      }
      this.#connection = connection;
      connecting.resolve();
    } catch (error) {
      connecting.reject(error);
    } finally {
      this.#connecting = undefined;
    }
    return connecting.promise;
  }

  async #open(): Promise<Connection> {
    const credentials = await this.#options.credentials(this.#endpoint);
    if (this.#closed) throw closedMeanwhile();
    const { kind, target } = this.#endpoint;
    const dialled =
      kind === 'unix' ? { target: `unix:${target}`, options: {} } : abortableTarget(target, credentials.connecting);
    const channel = new Channel(dialled.target, credentials, { ...this.#channelOptions(), ...dialled.options });
    try {
      await this.#untilReady(channel, credentials);
      return { channel, credentials };
    } catch (error) {
      channel.close();
      credentials.drop();
      throw error;
    }
  }

  #channelOptions(): ChannelOptions {
    const options = this.#options;
    return {
      'grpc.primary_user_agent': options.userAgent,
      'grpc.max_receive_message_length': options.maxReceiveBytes,
      'grpc.max_send_message_length': -1,
      // Retrying is decided above, where it is known which calls may be repeated.
      'grpc.enable_retries': 0,
      'grpc.service_config_disable_resolution': 1,
      // Channels to one address would share a connection otherwise, and with it a TLS identity.
      'grpc.use_local_subchannel_pool': 1,
      'grpc.enable_channelz': 0,
      // Streams push thousands of events: the default window of 64 KiB stalls them.
      'grpc-node.flow_control_window': 1024 * 1024,
      // One attempt per channel: the pool above decides when to try again.
      'grpc.initial_reconnect_backoff_ms': options.connectTimeoutMs * 2,
      'grpc.max_reconnect_backoff_ms': options.connectTimeoutMs * 2,
      'grpc.client_idle_timeout_ms': 2 ** 31 - 1,
      ...(options.keepaliveTimeMs > 0 && {
        'grpc.keepalive_time_ms': options.keepaliveTimeMs,
        'grpc.keepalive_timeout_ms': options.keepaliveTimeoutMs,
      }),
    };
  }

  /** Waits for the channel's first READY, the first failure, or the connect timeout. */
  #untilReady(channel: Channel, credentials: ConnectionCredentials): Promise<void> {
    const timeoutMs = this.#options.connectTimeoutMs;
    let timer: Timer | undefined;
    return new Promise<void>((resolve, reject) => {
      this.#giveUp = reject;
      timer = systemClock.after(timeoutMs, () => {
        reject(new ConnectError('timeout', `no connection within ${timeoutMs} ms`));
      });
      const look = (): void => {
        const state = channel.getConnectivityState(true);
        if (state === connectivityState.READY) return resolve();
        if (state === connectivityState.SHUTDOWN) return; // we closed it, for a reason that was told
        if (state === connectivityState.TRANSIENT_FAILURE) {
          return void whyFailed(channel, this.#endpoint.secure, timeoutMs).then((error) =>
            reject(credentials.failure ?? error),
          );
        }
        channel.watchConnectivityState(state, Number.POSITIVE_INFINITY, look);
      };
      look();
    }).finally(() => {
      timer?.cancel();
      this.#giveUp = undefined;
    });
  }

  unary<I, O>(method: MethodDescriptor<I, O>, request: Init<I>, options: UnaryOptions): Promise<O> {
    return new Promise<O>((resolve, reject) => {
      // Before the call is made: what cannot be encoded must not leave a call behind.
      const bytes = method.request.encode(request);
      const { signal } = options;
      const channel = this.#closed ? undefined : this.#readyChannel();
      if (channel === undefined) return reject(new TransportError(NOT_CONNECTED));
      if (signal?.aborted) return reject(new TransportError(ABORTED));
      const call = channel.createCall(method.path, Date.now() + options.timeoutMs, null, null, undefined);
      new UnaryCall(call, method.response, this.#running, resolve, reject).start(
        toGrpcMetadata(options.metadata),
        bytes,
        signal,
      );
    });
  }

  stream<I, O>(
    method: MethodDescriptor<I, O>,
    options: StreamOptions,
    handlers: StreamHandlers<O>,
  ): TransportStream<I> {
    const channel = this.#closed ? undefined : this.#readyChannel();
    if (channel === undefined) {
      queueMicrotask(() => handlers.onClose(NOT_CONNECTED));
      return DEAD_STREAM;
    }
    const call = channel.createCall(method.path, Infinity, null, null, undefined);
    this.#running.add(call);
    return new GrpcStream(call, method, toGrpcMetadata(options.metadata), {
      onMessage: handlers.onMessage,
      onClose: (failure) => {
        this.#running.delete(call);
        handlers.onClose(failure);
      },
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#giveUp?.(closedMeanwhile());
    for (const call of [...this.#running]) call.cancelWithStatus(GrpcCode.UNAVAILABLE, 'the connection was closed');
    const connection = this.#connection;
    this.#connection = undefined;
    if (connection === undefined) return;
    connection.channel.close();
    // A turn for what says goodbye; after that, a peer that never answers must not keep the socket.
    setImmediate(() => setImmediate(() => connection.credentials.drop()));
  }
}

function closedMeanwhile(): ConnectError {
  return new ConnectError('closed', 'the transport was closed while connecting');
}

/** A channel tells why it failed only to a call, so one is made that can go nowhere. */
function whyFailed(channel: Channel, secure: boolean, timeoutMs: number): Promise<ConnectError> {
  return new Promise((resolve) => {
    const call = channel.createCall('/etcdkit.Probe/Why', Date.now() + timeoutMs, null, null, undefined);
    call.start(new Metadata(), {
      onReceiveMetadata: ignore,
      onReceiveMessage: ignore,
      onReceiveStatus: (status) => resolve(connectError(status.details, secure)),
    });
  });
}

const NOT_CONNECTED: CallFailure = { grpcCode: GrpcCode.UNAVAILABLE, details: 'not connected', sent: 'no' };
const ABORTED: CallFailure = { grpcCode: GrpcCode.CANCELLED, details: 'aborted before it was sent', sent: 'no' };

const DEAD_STREAM: TransportStream<unknown> = { send: ignore, halfClose: ignore, pull: ignore, cancel: ignore };

function ignore(): void {}
