/**
 * `npm run check`: everything that needs no etcd and no network. For the inner loop, so it
 * has to stay under a minute on two cores.
 *
 * @module
 */
import { addCounts, conclude, runSteps } from './checks/runner.ts';
import { generate, suite, tools } from './checks/steps.ts';

const generated = await runSteps([generate]);
const checked = await runSteps([suite('unit'), ...tools], 2);
conclude(addCounts(generated, checked));
