/**
 * Whether some order of operations explains all answers: by search, for any model, believing nothing else.
 *
 * Answers are taken in the order of their times. Nothing is put into the order before it has to be: only when the next
 * answer's operation has no place yet, those that are open may come before it, each of them, in each order ("just in
 * time"). What has been tried (the answer, the state, which open ones have their place) is not tried again. One
 * shortcut: an open operation whose answer fits, and says that it changes nothing wherever it takes place, takes its
 * place at once, since that can't hinder any other.
 *
 * An operation of unknown outcome is open for ever and never has to take place. In the worst case the search takes time
 * exponential in the operations that are open together, so it has a limit; histories whose operations are on keys of
 * their own are best searched apart (`parts.ts`).
 *
 * Serializable reads are left out: they may be of any time before.
 *
 * Source: Wing & Gong, "Testing and Verifying Concurrent Objects" (1993); Lowe, "Testing for Linearizability" (2017),
 * for its just-in-time search with memory.
 */
import { type Answered, isSerializable, type Operation, type Request, type Response } from './history.ts';

/** What operations mean. */
export interface SearchModel<State> {
  readonly initial: State;
  /**
   * The states that a request may lead to, given its answer; none if the answer is impossible. Without an answer all
   * that may have come of it.
   */
  step(state: State, request: Request, response: Response | undefined): readonly State[];
  /** Whether a request that got this answer has changed nothing, in whatever state. If in doubt: no. */
  onlyReads(request: Request, response: Response): boolean;
  /** The same text for states that nothing can tell apart, and for no others. */
  keyOf(state: State): string;
}

export interface SearchReport {
  /** `undecided`: the limit was reached. */
  readonly verdict: 'linearizable' | 'violation' | 'undecided';
  /**
   * For a violation: the first answer that can't be explained, though those before it can; and what was open then.
   */
  readonly stuck?: { readonly at: Answered; readonly open: readonly Operation[] } | undefined;
  /** How many states were looked at. */
  readonly states: number;
}

export interface SearchOptions {
  /** States to look at, at most. Default: 1,000,000. */
  readonly maxStates?: number | undefined;
}

/** An answer, and what may take place before it. */
interface Moment {
  readonly at: Answered;
  readonly open: readonly Slot[];
}

/** An open operation, and its bit in the set of those that have their place. */
interface Slot {
  readonly operation: Operation;
  readonly bit: bigint;
}

interface Node<State> {
  readonly moment: number;
  readonly state: State;
  /** Which of the open operations have their place. */
  readonly placed: bigint;
}

/** Does what the head of this file says. */
export function searchOrder<State>(
  operations: readonly Operation[],
  model: SearchModel<State>,
  { maxStates = 1_000_000 }: SearchOptions = {},
): SearchReport {
  const moments = momentsOf(
    operations.filter(({ status, request }) => status !== 'failed' && !isSerializable(request)),
  );
  const seen = new Set<string>();
  const stack: Node<State>[] = [{ moment: 0, state: model.initial, placed: 0n }];
  let furthest = 0;
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    const next = advance(node, moments, model);
    furthest = Math.max(furthest, next.moment);
    const moment = moments[next.moment];
    if (moment === undefined) return { verdict: 'linearizable', states: seen.size };
    const key = `${next.moment} ${next.placed} ${model.keyOf(next.state)}`;
    if (seen.has(key)) continue;
    if (seen.size >= maxStates) return { verdict: 'undecided', states: seen.size };
    seen.add(key);
    stack.push(...branches(next, moment, model));
  }
  const { at, open } = moments[furthest] as Moment;
  const stuck = { at, open: open.map(({ operation }) => operation).filter((one) => one !== at) };
  return { verdict: 'violation', stuck, states: seen.size };
}

/** Goes on as long as there is nothing to choose. */
function advance<State>(node: Node<State>, moments: readonly Moment[], model: SearchModel<State>): Node<State> {
  let { moment, placed } = node;
  for (let here = moments[moment]; here !== undefined; here = moments[moment]) {
    for (const { operation, bit } of here.open)
      if (operation.status === 'ok' && (placed & bit) === 0n && readsThis(node.state, operation, model)) placed |= bit;
    const own = bitOf(here);
    if ((placed & own) === 0n) break;
    placed &= ~own;
    moment += 1;
  }
  return { moment, state: node.state, placed };
}

function readsThis<State>(state: State, { request, response }: Answered, model: SearchModel<State>): boolean {
  return model.onlyReads(request, response) && model.step(state, request, response).length > 0;
}

/** What may come next; the most likely last, where the stack is taken from. */
function branches<State>(
  { moment, state, placed }: Node<State>,
  { at, open }: Moment,
  model: SearchModel<State>,
): Node<State>[] {
  const key = model.keyOf(state);
  const free = open.filter(({ bit }) => (placed & bit) === 0n);
  const rank = ({ operation }: Slot): number => (operation === at ? 2 : operation.status === 'ok' ? 1 : 0);
  return free
    .sort((a, b) => rank(a) - rank(b))
    .flatMap(({ operation, bit }) => {
      const response = operation.status === 'ok' ? operation.response : undefined;
      return (
        model
          .step(state, operation.request, response)
          // What nobody was told of and changes nothing may as well not be.
          .filter((next) => operation.status === 'ok' || model.keyOf(next) !== key)
          .map((next) => ({ moment, state: next, placed: placed | bit }))
      );
    });
}

function bitOf({ at, open }: Moment): bigint {
  return (open.find(({ operation }) => operation === at) as Slot).bit;
}

/** The answers by time, each with what was open; bits of those that are over are given to others. */
function momentsOf(operations: readonly Operation[]): Moment[] {
  const calls = [...operations].sort((a, b) => a.calledAt - b.calledAt);
  const returns = operations.filter((one) => one.status === 'ok').sort((a, b) => a.returnedAt - b.returnedAt);
  const free: bigint[] = [];
  let bits = 0n;
  let open: Slot[] = [];
  let next = 0;
  return returns.map((at) => {
    for (; (calls[next]?.calledAt ?? Infinity) <= at.returnedAt; next += 1) {
      const bit = free.pop() ?? 1n << bits++;
      open.push({ operation: calls[next] as Operation, bit });
    }
    const moment = { at, open };
    open = open.filter(({ operation }) => operation !== at);
    free.push(bitOf(moment));
    return moment;
  });
}
