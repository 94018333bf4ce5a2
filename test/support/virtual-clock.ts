/** The clock of tests is the one that users get. */
export { VirtualClock } from '../../src/testing/virtual-clock.ts';
