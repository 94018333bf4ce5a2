/**
 * What is the same for all calls of one method, worked out once: names and attributes.
 *
 * @module
 */

import { SpanKind } from '@opentelemetry/api';
import { DB_SYSTEM, OTEL, RPC_SYSTEM } from './semconv.ts';

/** Where calls go, as far as the client was configured. */
export interface CallTarget {
  readonly host: string;
  readonly port: number | undefined;
}

/** What is the same for all calls of one method. */
export interface MethodInfo {
  readonly path: string;
  readonly operation: string;
  readonly spanName: string;
  readonly start: { readonly kind: SpanKind; readonly attributes: Record<string, string | number> };
  /** Attributes of its metrics, as long as it succeeds. */
  readonly labels: Record<string, string | number>;
}

/** `delete_range` of `/etcdserverpb.KV/DeleteRange`. */
function operationOf(path: string): string {
  const name = path.slice(path.lastIndexOf('/') + 1);
  return name.replace(/(?<=[a-z0-9])[A-Z]/g, (letter) => `_${letter}`).toLowerCase();
}

/** Works it out; `target` is undefined where a client has several endpoints. */
export function methodInfo(path: string, target: CallTarget | undefined): MethodInfo {
  const operation = operationOf(path);
  const { host, port } = target ?? {};
  const labels = {
    [OTEL.dbSystem]: DB_SYSTEM,
    [OTEL.dbOperation]: operation,
    [OTEL.rpcMethod]: path.slice(1),
    ...(host === undefined ? {} : { [OTEL.serverAddress]: host }),
    ...(port === undefined ? {} : { [OTEL.serverPort]: port }),
  };
  const where = host === undefined ? '' : ` ${host}${port === undefined ? '' : `:${port}`}`;
  return {
    path,
    operation,
    spanName: `${operation}${where}`,
    start: { kind: SpanKind.CLIENT, attributes: { ...labels, [OTEL.rpcSystem]: RPC_SYSTEM } },
    labels,
  };
}

/** Host and port of an endpoint's name: `host:port`, `https://host:port`, `unix:path`. */
export function hostAndPort(endpoint: string): CallTarget {
  const bare = endpoint.replace(/^https?:\/\//, '');
  const match = /^(.*):(\d+)$/.exec(bare);
  if (match === null) return { host: bare, port: undefined };
  return { host: (match[1] as string).replace(/^\[(.*)\]$/, '$1'), port: Number(match[2]) };
}
