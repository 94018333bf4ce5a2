/** Calls with a trace context, as any client of etcd may send them, and what came of them. */
import type { ReadableSpan } from '@opentelemetry/sdk-trace-node';
import { expect } from 'vitest';
import type { Init, MethodDescriptor } from '../../../src/protocol/wire.ts';
import type { Spans } from '../../support/spans.ts';
import { connectRaw, framed, type RawAnswer } from '../rpc/raw-client.ts';

export const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';
export const SPAN_ID = 'b7ad6b7169203331';

/** @param flags `01`: sampled. */
export function traceparent(flags: '00' | '01' = '01'): Record<string, string> {
  return { traceparent: `00-${TRACE_ID}-${SPAN_ID}-${flags}`, tracestate: 'vendor=1' };
}

/** One call, on a connection of its own. */
export async function call<I, O>(
  endpoint: string,
  { path, request }: MethodDescriptor<I, O>,
  message: Init<NoInfer<I>>,
  headers: Record<string, string> = {},
): Promise<RawAnswer> {
  await using client = await connectRaw(`http://${endpoint}`);
  // Awaited here, before the connection is closed.
  return await client.call({ path, headers, data: [framed(request.encode(message))] });
}

/** The members that spans were made at. */
export function membersOf(spans: readonly ReadableSpan[]): unknown[] {
  return spans.map(({ attributes }) => attributes['etcd.member.id']).sort();
}

/** The only span of a name. */
export function only(spans: Spans, name: string): ReadableSpan {
  const found = spans.named(name);
  expect(found).toHaveLength(1);
  return found[0]!;
}
