/**
 * Whether a history of clients is linearizable, without a word about revisions: what `linearizability.ts` believes is
 * not believed here, so a store that lies in its headers is found out by what it answers.
 *
 * Each part of the history that has keys of its own is searched for an order. Of a part that has none, the answers are
 * named that can't all be true: the first that can't be explained, and as few of those before it as it takes. To find
 * them, answers are forgotten one by one as long as the rest can't be explained either.
 *
 * Serializable reads are not looked at. A lease that may run out has to be in the history as a revoke of unknown
 * outcome: that its keys went by themselves nothing here can know.
 */
import { describeOperation } from './describe.ts';
import { canWrite, type HistoryFinding, type KeyVersion, type Operation } from './history.ts';
import { independentParts } from './parts.ts';
import { type SearchModel, type SearchOptions, searchOrder } from './search.ts';
import { plainModel } from './search-models.ts';

export interface PlainOptions extends SearchOptions {
  /** What the store held before. Default: nothing. */
  readonly start?: readonly KeyVersion[] | undefined;
}

/** Longer histories are not searched for the fewest answers at fault. */
const LONGEST_SHRUNK = 300;
const STATES_PER_TRY = 2_000;

/** Does what the head of this file says. A part that takes too long to search is a finding too. */
export function checkWithoutRevisions(
  operations: readonly Operation[],
  { start = [], ...options }: PlainOptions = {},
): HistoryFinding[] {
  const model = plainModel(start);
  const startKeys = start.map(({ key }) => key);
  return independentParts(operations, startKeys).flatMap((part): HistoryFinding[] => {
    const { verdict, stuck, states } = searchOrder(part, model, options);
    if (verdict === 'linearizable') return [];
    if (stuck === undefined) {
      const message = `no order was found for ${part.length} operations within ${states} states`;
      return [{ rule: 'undecided', message, operations: part }];
    }
    // Nothing that was called later has part in it; what was open then may have had any outcome.
    const { at } = stuck;
    const before = part
      .filter(({ calledAt }) => calledAt <= at.returnedAt)
      .map((one) => (one.status === 'ok' && one.returnedAt > at.returnedAt ? forget(one) : one));
    const core = before.length <= LONGEST_SHRUNK ? shrink(before, model) : before;
    const atFault = core.filter(({ status }) => status === 'ok');
    const lines = (atFault.length > 0 ? atFault : [at]).slice(-20).map(describeOperation);
    const message = `no order explains all of these answers:\n  ${lines.join('\n  ')}`;
    return [{ rule: 'not-linearizable', message, operations: atFault }];
  });
}

/** Forgets answers as long as no order explains the rest. */
function shrink<State>(operations: readonly Operation[], model: SearchModel<State>): Operation[] {
  let core = [...operations];
  // The last ones are the most likely to be needed.
  for (const one of operations) {
    if (one.status === 'failed') core = core.filter((other) => other !== one);
    if (one.status !== 'ok') continue;
    const less = canWrite(one.request)
      ? core.map((other) => (other === one ? forget(one) : other))
      : core.filter((other) => other !== one);
    if (searchOrder(less, model, { maxStates: STATES_PER_TRY }).verdict === 'violation') core = less;
  }
  return core;
}

function forget(operation: Operation): Operation {
  const { id, client, calledAt, request } = operation;
  return { id, client, calledAt, request, status: 'unknown' };
}
