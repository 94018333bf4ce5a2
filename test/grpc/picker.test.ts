/** The picker by itself: what grpc-js never does when it is quick. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import * as grpc from '@grpc/grpc-js';
import { describe, expect, it } from 'vitest';
import { NoInstanceError } from '../../recipes/services/errors.ts';
import { outcomeOfStatus } from '../../src/grpc/outcome.ts';
import { ServicePicker } from '../../src/grpc/picker.ts';
import { FakeService, instanceAt } from '../recipes/services/fake-service.ts';

const { PickResultType } = grpc.experimental;
const args = { metadata: new grpc.Metadata(), extraPickInfo: {} };
/** Stands for a connection that is ready. */
const connection = (): grpc.experimental.Picker => ({
  pick: () => ({
    pickResultType: PickResultType.COMPLETE,
    subchannel: null,
    status: null,
    onCallStarted: null,
    onCallEnded: null,
  }),
});

function picker(service: FakeService, ready: readonly string[], connecting: readonly string[] = []) {
  const told = new Set(service.instances.map(({ id }) => id));
  const input = { service, told, hashMetadata: undefined, outcomeOf: outcomeOfStatus };
  const connections = {
    ready: new Map(ready.map((id) => [id, connection()])),
    connecting: new Set(connecting),
    lastError: 'refused',
  };
  return new ServicePicker(grpc, input, connections);
}

const typeOf = (from: ServicePicker): string => PickResultType[from.pick(args).pickResultType];

describe('a picker', () => {
  it('takes a call that grpc-js drops without a word for cancelled', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const service = new FakeService('orders', [instanceAt('a', 1)]);
    const from = picker(service, ['a']);
    let kept: ReturnType<ServicePicker['pick']>['onCallEnded'] = null;
    (() => {
      kept = { ...from.pick(args) }.onCallEnded;
      from.pick(args);
    })();
    while (service.outcomes().length === 0) {
      collect();
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(service.outcomes()).toEqual(['cancelled']);
    (kept as unknown as (code: number, details: string, metadata: grpc.Metadata) => void)(0, '', args.metadata);
    expect(service.outcomes().sort()).toEqual(['cancelled', 'success']);
  });

  it('picks among those that are connected, in the list as it is now', () => {
    const [a, b] = [instanceAt('a', 1), instanceAt('b', 2)];
    const service = new FakeService('orders', [a, b]);
    const from = picker(service, ['a']);
    for (let n = 0; n < 4; n += 1) expect(typeOf(from)).toBe('COMPLETE');
    expect(service.picks.map(({ id }) => id)).toEqual(['a', 'a', 'a', 'a']);
    service.set(b, instanceAt('c', 3));
    expect(typeOf(from)).toBe('QUEUE');
    service.set(b);
    expect(typeOf(from)).toBe('TRANSIENT_FAILURE');
    service.set();
    expect(typeOf(from)).toBe('TRANSIENT_FAILURE');
  });

  it('lets calls wait only while somebody may still be reached', () => {
    const service = new FakeService('orders', [instanceAt('a', 1), instanceAt('b', 2)]);
    expect(typeOf(picker(service, [], ['a']))).toBe('QUEUE');
    expect(typeOf(picker(service, []))).toBe('TRANSIENT_FAILURE');
    expect(service.picks).toEqual([]);
  });

  it('takes another when the strategy insists on one that is not connected', () => {
    const service = new FakeService('orders', [instanceAt('a', 1), instanceAt('b', 2)]);
    const stubborn = service.pick.bind(service);
    service.pick = () => stubborn({ avoid: new Set(['a']) });
    expect(typeOf(picker(service, ['a']))).toBe('COMPLETE');
    expect(service.outcomes('b')).toEqual(['cancelled']);
  });

  it('refuses a call when all have as many as they may, and does not hold it back', () => {
    const service = new FakeService('orders', [instanceAt('a', 1), instanceAt('b', 2)]);
    const stubborn = service.pick.bind(service);
    service.pick = () => stubborn({ avoid: new Set(['a']) });
    // Only the one that is not connected has room.
    Object.assign(service, { full: new Set(['a']) });
    const from = picker(service, ['a']);
    expect(from.pick(args).status).toMatchObject({
      code: grpc.status.UNAVAILABLE,
      details: expect.stringContaining('under way'),
    });
    expect(typeOf(from)).toBe('DROP');
    service.pick = () => {
      throw new NoInstanceError('orders', 'all-busy');
    };
    expect(typeOf(from)).toBe('DROP');
  });
});

describe('the outcome of a status', () => {
  it.each([
    ['success', [0, 3, 5, 6, 7, 9, 10, 11, 12, 16]],
    ['failure', [2, 4, 8, 13, 14, 15]],
    ['cancelled', [1]],
  ] as const)('is %s for %j', (outcome, codes) => {
    expect(codes.map(outcomeOfStatus)).toEqual(codes.map(() => outcome));
  });
});
