/**
 * The few rules that need types, and those that keep time and randomness out of src/ and
 * recipes/: they come from the injected Clock and `random`, or runs cannot be repeated.
 * Everything else is Biome's.
 */
import tseslint from 'typescript-eslint';

const random = { object: 'Math', property: 'random', message: 'Randomness comes from the injected `random`.' };
const wallClock = {
  object: 'Date',
  property: 'now',
  message: 'Time comes from the injected Clock; this one can go back.',
};
const time = [
  { object: 'performance', property: 'now', message: 'Time comes from the injected Clock.' },
  { object: 'globalThis', property: 'setTimeout', message: 'Timers come from the injected Clock.' },
  { object: 'globalThis', property: 'setInterval', message: 'Timers come from the injected Clock.' },
];
const timers = ['setTimeout', 'setInterval', 'setImmediate'].map((name) => ({
  name,
  message: 'Timers come from the injected Clock.',
}));
const timerModules = [
  'timers',
  'node:timers',
  'timers/promises',
  'node:timers/promises',
  'perf_hooks',
  'node:perf_hooks',
].map((name) => ({ name, message: 'Time comes from the injected Clock.' }));

// `new Date()` and `Date()` read the wall clock too; `new Date(value)` does not.
const now = ['NewExpression', 'CallExpression'].map((kind) => ({
  selector: `${kind}[callee.name="Date"][arguments.length=0]`,
  message: 'Time comes from the injected Clock.',
}));

export default tseslint.config(
  {
    ignores: ['dist/', 'docs/api/', 'coverage/', '.cache/', 'src/protocol/generated/', 'bench/', '**/*.{js,cjs,mjs}'],
  },
  {
    files: ['**/*.ts'],
    languageOptions: {
      parser: tseslint.parser,
      parserOptions: { project: './tsconfig.json', tsconfigRootDir: import.meta.dirname },
    },
    plugins: { '@typescript-eslint': tseslint.plugin },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      '@typescript-eslint/no-floating-promises': ['error', { checkThenables: true }],
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/no-unnecessary-type-assertion': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { allowDefaultCaseForExhaustiveSwitch: false, considerDefaultExhaustiveForUnions: true },
      ],
    },
  },
  {
    files: ['src/**/*.ts', 'recipes/**/*.ts'],
    rules: {
      'no-restricted-properties': ['error', random, wallClock, ...time],
      'no-restricted-globals': ['error', ...timers],
      'no-restricted-imports': ['error', { paths: timerModules }],
      'no-restricted-syntax': ['error', ...now],
    },
  },
  // A seed has to give the same run, whatever it runs on. Promises would let the engine choose the order.
  {
    files: ['test/simulation/**/*.ts'],
    rules: {
      'no-restricted-properties': ['error', random, wallClock, ...time],
      'no-restricted-globals': ['error', ...timers, { name: 'Promise', message: 'Use the scheduler.' }],
      'no-restricted-imports': ['error', { paths: timerModules }],
      'no-restricted-syntax': ['error', ...now],
    },
  },
  // Whole members are made of them. There each event is over only when its microtasks are, whose order is the language's.
  {
    files: ['test/simulation/members/**/*.ts'],
    rules: { 'no-restricted-globals': ['error', ...timers] },
  },
  // Queues of several processes go by the time of day; this is the default of the option that replaces it.
  { files: ['recipes/queue/**/*.ts'], rules: { 'no-restricted-properties': ['error', random, ...time] } },
  // Where the clock is made.
  {
    files: ['src/support/clock.ts'],
    rules: { 'no-restricted-properties': ['error', random, wallClock], 'no-restricted-globals': 'off' },
  },
  // The default of the option that replaces it.
  { files: ['src/client/options.ts'], rules: { 'no-restricted-properties': ['error', wallClock, ...time] } },
  // Where a server's time of day, and turns of the event loop, come from, unless it is told otherwise.
  {
    files: ['src/server/system.ts'],
    rules: {
      'no-restricted-properties': ['error', random, ...time],
      'no-restricted-globals': ['error', ...timers.filter(({ name }) => name !== 'setImmediate')],
    },
  },
  // Who holds something, and since when, is told to people; nothing is decided by it.
  { files: ['recipes/names.ts'], rules: { 'no-restricted-syntax': 'off' } },
  // To leave a callback of grpc-js before calling into it again; no time passes.
  {
    files: ['src/client/transport/grpc.ts'],
    rules: { 'no-restricted-globals': ['error', ...timers.filter(({ name }) => name !== 'setImmediate')] },
  },
  // grpc-js takes deadlines, and JWTs carry their expiry, in wall-clock time.
  {
    files: ['src/client/transport/grpc.ts', 'src/client/connection/token.ts'],
    rules: { 'no-restricted-properties': ['error', random, ...time] },
  },
);
