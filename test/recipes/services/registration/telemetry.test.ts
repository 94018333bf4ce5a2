/** What the spans of a registration tell, and that its loop is no part of the request that began it. */
import { trace } from '@opentelemetry/api';
import { expect, it } from 'vitest';
import { collectSpans } from '../../../support/spans.ts';
import { KEY, startBed, untilEvent, untilState } from './bed.ts';

it('has a span for each step of its life, linked to the first', async () => {
  await using bed = await startBed();
  await using spans = collectSpans();
  const tracer = trace.getTracer('test');
  const registration = await tracer.startActiveSpan('start-up', async (span) => {
    const made = await bed.register();
    span.end();
    return made;
  });
  await registration.update({ weight: 2 });
  const before = await bed.eye.revision();
  const back = untilEvent(bed.eye, before, 'put');
  await bed.eye.leases.revoke((await bed.eye.get(KEY))!.lease!);
  await back;
  await untilState(registration, 'registered');
  await registration.drain({ propagationMs: 0 });
  const own = spans.finished.filter(({ name }) => name.startsWith('Registration.'));
  expect(own.map(({ name }) => name)).toEqual([
    'Registration.register',
    'Registration.update',
    'Registration.lost',
    'Registration.again',
    'Registration.deregister',
    'Registration.drain',
  ]);
  const [first, ...others] = own;
  for (const span of others) expect(span.links[0]?.context.spanId).toBe(first!.spanContext().spanId);
  const [startUp] = spans.named('start-up');
  expect(spans.below(startUp!)).toEqual([first]);
});
