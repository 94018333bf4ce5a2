/**
 * The service Watch. `watch-stream.ts` says how a call goes.
 *
 * @module
 */
import { Watch } from '../../protocol/generated/etcdserverpb.ts';
import type { ServingMember } from '../member/serving.ts';
import type { Method } from '../rpc/call.ts';
import type { ApiOptions, Guard } from './guard.ts';
import { WatchHeaders } from './watch-header.ts';
import { WatchStream } from './watch-stream.ts';

/** The methods of `etcdserverpb.Watch`. */
export function watchMethods(member: ServingMember, guard: Guard, options: ApiOptions): readonly Method[] {
  const headers = new WatchHeaders(member);
  return [
    guard.bidi(Watch.watch, (requests, { signal }, out, check) =>
      new WatchStream({ member, options, headers, out, signal, check }).run(requests),
    ),
  ];
}
