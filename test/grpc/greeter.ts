/** A small gRPC service on a free port, which says who has answered. */
import * as grpc from '@grpc/grpc-js';
import type { ServiceInstance } from '../../recipes/services/instance.ts';
import { instanceAt } from '../recipes/services/fake-service.ts';

const text = {
  requestSerialize: (value: string) => Buffer.from(value),
  requestDeserialize: (bytes: Buffer) => bytes.toString(),
  responseSerialize: (value: string) => Buffer.from(value),
  responseDeserialize: (bytes: Buffer) => bytes.toString(),
};
export const definition = {
  Greet: { path: '/test.Greeter/Greet', requestStream: false, responseStream: false, ...text },
} satisfies grpc.ServiceDefinition;

/** What a call does: answers at once, or waits until the server is told. */
export class Greeter implements AsyncDisposable {
  readonly id: string;
  readonly port: number;
  /** How many calls came. */
  calls = 0;
  /** Fails each call with this code. */
  failWith: grpc.status | undefined;
  #held: (() => void)[] | undefined;
  readonly #server: grpc.Server;
  #onCall: (() => void)[] = [];

  private constructor(id: string, server: grpc.Server, port: number) {
    this.id = id;
    this.#server = server;
    this.port = port;
  }

  static async start(id: string, port = 0): Promise<Greeter> {
    const server = new grpc.Server();
    const bound = await new Promise<number>((resolve, reject) => {
      server.bindAsync(`127.0.0.1:${port}`, grpc.ServerCredentials.createInsecure(), (error, got) =>
        error ? reject(error) : resolve(got),
      );
    });
    const greeter = new Greeter(id, server, bound);
    const Greet: grpc.handleUnaryCall<string, string> = (_call, callback) => greeter.#answer(callback);
    server.addService(definition, { Greet });
    return greeter;
  }

  get instance(): ServiceInstance {
    return instanceAt(this.id, this.port);
  }

  /** Calls are not answered until `letGo`. */
  hold(): void {
    this.#held = [];
  }

  letGo(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const answer of held) answer();
  }

  /** Resolves when the next call has come. */
  called(): Promise<void> {
    return new Promise((resolve) => this.#onCall.push(resolve));
  }

  #answer(callback: grpc.sendUnaryData<string>): void {
    this.calls += 1;
    for (const resolve of this.#onCall.splice(0)) resolve();
    const answer = (): void => {
      if (this.failWith === undefined) callback(null, this.id);
      else callback({ code: this.failWith, details: 'as told' });
    };
    if (this.#held === undefined) answer();
    else this.#held.push(answer);
  }

  /** Breaks every connection and stops. */
  kill(): void {
    this.#server.forceShutdown();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kill();
  }
}

const GreeterClientBase = grpc.makeGenericClientConstructor(definition, 'Greeter');

/** A client with a channel of its own. */
export class GreeterClient extends GreeterClientBase {
  constructor(target: string, options: grpc.ChannelOptions = {}) {
    // A subchannel pool of its own: tests shall not meet each other's connections.
    super(target, grpc.credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1, ...options });
  }

  /** Who has answered. */
  greet(
    options: { waitForReady?: boolean; deadlineMs?: number; metadata?: Record<string, string> } = {},
  ): Promise<string> {
    return new Promise((resolve, reject) =>
      this.start(options, (error, answer) => (error ? reject(error) : resolve(answer))),
    );
  }

  start(
    options: { waitForReady?: boolean; deadlineMs?: number; metadata?: Record<string, string> },
    done: (error: grpc.ServiceError | null, answer: string) => void,
  ): grpc.ClientUnaryCall {
    const metadata = new grpc.Metadata({ waitForReady: options.waitForReady ?? false });
    for (const [name, value] of Object.entries(options.metadata ?? {})) metadata.set(name, value);
    // For what hangs; no test waits for it.
    const deadline = Date.now() + (options.deadlineMs ?? 20_000);
    const { path, requestSerialize, responseDeserialize } = definition.Greet;
    return this.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      'hello',
      metadata,
      { deadline },
      (error, answer) => done(error, answer as string),
    );
  }
}
