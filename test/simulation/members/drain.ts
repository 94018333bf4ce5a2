/**
 * Lets promises take their course between two events.
 *
 * Whole members are made of promises, so an event is over only when all that it set in motion has come to rest. Nothing
 * of a simulated member waits for the real world; then what is left are microtasks, whose order is the language's and
 * the same on every run.
 */

/** Resolves once no microtask is left. To be awaited from within one, such as the course of an `async` function. */
export function drained(): Promise<void> {
  // Node takes up this queue when that of the microtasks is empty, those that they add included.
  return new Promise((resolve) => process.nextTick(resolve));
}
