/**
 * What of an output is compared.
 *
 * Log lines of etcd's library say what its code does; ours says other things. They are left out on both sides, but for
 * those that carry facts which show nowhere else: a member's role and term, its configuration, and that something was
 * dropped in silence. Of the latter, kind and place are compared and not the words around them. `ok` is left out too:
 * it stands where an output is empty, and one that has log lines is not. Indentation tells which step of which member a
 * line belongs to, and stays.
 *
 * @module
 */
import type { RaftEvent } from '../../../../src/server/raft/events.ts';

const LOG = /^\s*(DEBUG|INFO|WARN|ERROR|FATAL) /;
const ROLE_OR_CONFIGURATION =
  /^\s*INFO \S+ (became (follower|candidate|pre-candidate|leader) at term \d+|switched to configuration .*)$/;

/** Events of the core that stand for something dropped. */
export type SilentDrop = Exclude<RaftEvent['type'], 'became' | 'configuration'>;

/** Words that only log lines of etcd's library about such an event have; the first ones stand in ours too. */
export const SILENT_DROPS: Readonly<Record<SilentDrop, readonly [string, ...string[]]>> = {
  'conf-change-ignored': ['ignoring conf change'],
  'lease-not-expired': ['lease is not expired'],
  'stale-append-response': ['ignored entry appends from a MsgStorageAppendResp'],
  'stable-ignored': ['unstable log; ignoring', 'matched unstable snapshot; ignoring'],
};

/** The lines of an output that count, as they are compared. */
export function normalise(output: string): readonly string[] {
  return output.split('\n').flatMap((raw) => {
    const line = raw.trimEnd();
    if (line === '' || line === 'ok') return [];
    if (!LOG.test(line)) return [line];
    if (ROLE_OR_CONFIGURATION.test(line)) return [line];
    const drop = silentDrop(line);
    return drop === undefined ? [] : [`${/^\s*/.exec(line)?.[0]}(dropped in silence: ${drop})`];
  });
}

function silentDrop(line: string): string | undefined {
  return Object.entries(SILENT_DROPS).find(([, words]) => words.some((word) => line.includes(word)))?.[0];
}
