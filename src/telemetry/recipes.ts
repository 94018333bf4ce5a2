/**
 * The telemetry of recipes: the only file of this folder that recipes import.
 *
 * Three shapes, and nothing else:
 * 1. {@link acquiring}: something is asked for, got and held, with its waits
 *    ({@link whileWaiting}) and the work under it ({@link whileHeld}).
 * 2. {@link doing}: a call that begins and ends; {@link transacting} is one with attempts,
 *    {@link handling} work of the program's own that a recipe calls.
 * 3. {@link Life}: something that lives for as long as the program, such as a registration:
 *    a span for each step, linked to the first, and never one for the life. Its loops run
 *    {@link detached}, so that they are no part of the request that began them.
 *
 * Names of locks and elections are parts of keys: they are told where `captureKeys` is not
 * `'none'`, and on the diagnostics channels, which do not leave the process.
 *
 * Where nobody listens the work is called and nothing else is done.
 *
 * @module
 */

export { type Asking, acquiring, whileHeld, whileWaiting } from './acquiring.ts';
export { detached } from './api.ts';
export { attempting, countQueue, doing, handling, Life, observeStaleness, transacting } from './doing.ts';
export type { RecipeName } from './recipe.ts';
