/** Watch streams and what is asked on them. */
import type { WatchCreateRequest } from '../../../../src/protocol/generated/etcdserverpb.ts';
import type { Init } from '../../../../src/protocol/wire.ts';
import type { Step } from '../steps.ts';
import { keyRange, revisionNear } from './kv.ts';
import type { Scene } from './scene.ts';

const STREAMS = ['s0', 's1', 's2'] as const;
/** Not -1, by which answers that are about no watcher go. */
const IDS = [0n, 0n, 0n, 1n, 2n, 7n, -7n] as const;

export function watchSteps(scene: Scene): Step[] {
  const { dice, streams } = scene;
  const stream = dice.of(STREAMS);
  if (!streams.has(stream)) return [{ kind: 'open', stream, as: scene.caller() }];
  return dice.weighted<() => Step[]>([
    [12, () => [{ kind: 'tell', stream, request: { createRequest: create(scene) } }]],
    // What a watcher has heard when it ends is a matter of time, but for this.
    [5, () => [{ kind: 'drain' }, { kind: 'tell', stream, request: { cancelRequest: { watchId: dice.of(IDS) } } }]],
    [3, () => [{ kind: 'drain' }, { kind: 'progress', stream }]],
    [1, () => [{ kind: 'tell', stream, request: {} }]],
    [1, () => [{ kind: 'drain' }, { kind: 'close', stream }]],
  ])();
}

function create(scene: Scene): Init<WatchCreateRequest> {
  const { dice } = scene;
  const { key: from, rangeEnd: to } = keyRange(scene);
  // Below 0, a watcher is refused only by later releases.
  const past = (): bigint => {
    const revision = revisionNear(scene);
    return revision < 0n ? 1n : revision;
  };
  // A real etcd lets who may read one key watch all that come after it.
  const open = from.length === 0 || (to.length === 1 && to[0] === 0);
  return {
    key: scene.withAuth && open ? new Uint8Array([97]) : from,
    rangeEnd: scene.withAuth && open ? new Uint8Array() : to,
    startRevision: dice.of([0n, 0n, 0n, past(), past(), scene.revision + dice.of([1n, 2n, 4n])]),
    filters: dice.chance(25) ? dice.of<(0 | 1)[]>([[0], [1], [0, 1], [0, 0]]) : [],
    prevKv: dice.chance(40),
    fragment: dice.chance(20),
    progressNotify: dice.chance(10),
    watchId: dice.of(IDS),
  };
}
