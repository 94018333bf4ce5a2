/**
 * How long a module takes to import, in plain Node: a loader for TypeScript would be measured along with it.
 *
 * @module
 */

const from = performance.now();
await import(process.argv[2]);
process.stdout.write(`${JSON.stringify({ importMs: performance.now() - from })}\n`);
