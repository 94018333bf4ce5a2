/**
 * Several callers, one call: what each of them was doing when it called is kept until the
 * call is sent, which may be while something else is active.
 *
 * A span has one parent, so one caller's trace has the call and the others' are linked to
 * it: the conventions have batches so.
 *
 * @module
 */

import { type Context, context, type Link, trace } from '@opentelemetry/api';
import { activeSpanContext, linkTo } from './api.ts';

/** Whoever calls something that will be sent later, with others: what has to be kept until then. */
export function callerContext(): Context {
  return context.active();
}

/**
 * Sends one call for several callers: it is the child of what was active for the first of
 * them, and linked to what was active for the others.
 */
export function sendForAll<T>(callers: readonly Context[], send: (links: readonly Link[] | undefined) => T): T {
  const [first, ...others] = callers;
  if (first === undefined) return send(undefined);
  return context.with(first, () => {
    const own = activeSpanContext()?.spanId;
    const links = new Map<string, Link>();
    for (const caller of others) {
      const spanContext = trace.getSpanContext(caller);
      if (spanContext !== undefined && spanContext.spanId !== own) links.set(spanContext.spanId, linkTo(spanContext));
    }
    return send(links.size === 0 ? undefined : [...links.values()]);
  });
}
