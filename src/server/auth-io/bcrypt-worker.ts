/**
 * What the thread runs that hashes passwords.
 *
 * It is text, so that it runs from the sources and from the build alike, which differ in the names of files. One job at
 * a time comes in, one answer goes out; a password lives here as long as its job.
 *
 * @module
 */

/** What is asked of the thread. */
export type BcryptJob =
  | { readonly type: 'hash'; readonly password: string; readonly cost: number }
  | { readonly type: 'verify'; readonly password: string; readonly hash: string };

/** What it answers: a hash, whether a password is right, or nothing if it could not be told. */
export type BcryptAnswer = string | boolean | undefined;

/** CommonJS. `workerData` is the file of bcryptjs. */
export const BCRYPT_WORKER = `
const { parentPort, workerData } = require('node:worker_threads');
const bcrypt = require(workerData);
parentPort.on('message', (job) => {
  let answer;
  try {
    answer = job.type === 'hash' ? bcrypt.hashSync(job.password, job.cost) : bcrypt.compareSync(job.password, job.hash);
  } catch {}
  parentPort.postMessage(answer);
});
`;
