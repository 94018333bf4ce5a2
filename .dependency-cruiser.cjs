/**
 * Who may import whom.
 *
 *   protocol, support  <-  telemetry  <-  client  <-  recipes (through src/index.ts, and telemetry/recipes.ts)
 *   protocol, support, telemetry      <-  server
 *   client (through src/index.ts), recipes  <-  grpc, undici
 *
 * Folders that do not exist yet have their rules already. Imports of types count too.
 */
const CORE = ['core'];

/** `from` may import nothing below src/ but what `allowed` matches, and nothing of recipes/. */
const only = (name, comment, from, allowed) => ({
  name,
  comment,
  severity: 'error',
  from: { path: from },
  to: { path: '^(src|recipes)/', pathNot: allowed },
});

module.exports = {
  forbidden: [
    only('protocol-is-a-leaf', 'src/protocol imports nothing else of ours.', '^src/protocol/', '^src/protocol/'),
    only('support-is-a-leaf', 'src/support imports nothing else of ours.', '^src/support/', '^src/support/'),
    only(
      'telemetry-stands-below',
      'src/telemetry imports only protocol and support.',
      '^src/telemetry/',
      '^src/(protocol|support|telemetry)/',
    ),
    only(
      'client-imports-down',
      'src/client imports only protocol, support and telemetry.',
      '^src/client/',
      '^src/(protocol|support|telemetry|client)/',
    ),
    only(
      'recipes-only-public',
      'Recipes reach etcd through the public interface: whatever they need, users may need. Their spans are no part of ' +
        'that: a program has OpenTelemetry for its own, so those come from a file made for the recipes alone.',
      '^recipes/',
      '^(src/(index|telemetry/recipes)\\.ts$|recipes/)',
    ),
    only(
      'grpc-stands-on-the-recipes',
      "src/grpc imports the public client and recipes; its grpc-js is the user's, of which it knows the types alone.",
      '^src/grpc/',
      '^(src/index\\.ts$|src/grpc/|recipes/)',
    ),
    only(
      'undici-stands-on-the-recipes',
      'src/undici imports the public client and recipes.',
      '^src/undici/',
      '^(src/index\\.ts$|src/undici/|recipes/)',
    ),
    only(
      'server-imports-down',
      'src/server imports only protocol, support and telemetry.',
      '^src/server/',
      '^src/(protocol|support|telemetry|server)/',
    ),
    {
      name: 'deterministic-core',
      comment: 'Raft and the state machine take clock, randomness, disk and network as parameters.',
      severity: 'error',
      from: { path: '^src/server/(raft|mvcc|lease|auth|apply)/' },
      to: { dependencyTypes: CORE },
    },
    {
      name: 'deterministic-core-stays-inside',
      comment: 'The pure parts of the server import each other, wire types and support, and no part that does I/O.',
      severity: 'error',
      from: { path: '^src/server/(raft|mvcc|lease|auth|apply)/' },
      to: {
        path: '^src/',
        pathNot:
          '^src/(protocol/|support/|server/(raft/|mvcc/|lease/|auth/|apply/|refusals\\.ts|snapshot/backend-state\\.ts))',
      },
    },
    {
      name: 'raft-imports-nothing',
      comment: 'The consensus core stands alone: wire types and support at most.',
      severity: 'error',
      from: { path: '^src/server/raft/' },
      to: { pathNot: '^src/(protocol|support|server/raft)/' },
    },
    {
      name: 'nobody-imports-testing',
      comment: 'src/testing is for the tests of users.',
      severity: 'error',
      from: { path: '^(src|recipes)/', pathNot: '^src/testing/' },
      to: { path: '^src/testing/' },
    },
    {
      name: 'shipped-code-imports-shipped-code',
      comment: 'What is published imports no test, script, benchmark or example.',
      severity: 'error',
      from: { path: '^(src|recipes)/' },
      to: { path: '^(test|scripts|bench|examples|docs)/' },
    },
    {
      name: 'shipped-code-needs-shipped-packages',
      comment: 'What is published imports no development dependency.',
      severity: 'error',
      from: { path: '^(src|recipes)/' },
      // A peer that is also a development dependency is both.
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'], dependencyTypesNot: ['npm-peer', 'type-only'] },
    },
    {
      name: 'grpc-js-behind-the-transport',
      comment: 'Only the grpc-js transport knows grpc-js, so that another one can take its place.',
      severity: 'error',
      from: {
        path: '^(src|recipes)/',
        pathNot:
          '^src/(client/transport/grpc[^/]*\\.ts|protocol/package-definition\\.ts|server/(?!(raft|mvcc|lease|auth)/)|testing/|grpc/)',
      },
      to: { path: 'node_modules/@grpc/grpc-js/' },
    },
    {
      name: 'grpc-js-is-the-users',
      comment: 'What is registered has to go into the copy of grpc-js that the program passes in. Types cost nothing.',
      severity: 'error',
      from: { path: '^src/grpc/' },
      to: { path: 'node_modules/@grpc/grpc-js/', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'undici-behind-its-own-entry',
      comment: 'undici is an optional peer: only those who import etcdkit/undici need it.',
      severity: 'error',
      from: { path: '^(src|recipes)/', pathNot: '^src/undici/' },
      to: { path: 'node_modules/undici/' },
    },
    {
      name: 'integrations-are-entries',
      comment: 'Nothing of ours imports them.',
      severity: 'error',
      from: { path: '^(src|recipes)/', pathNot: '^src/(grpc|undici)/' },
      to: { path: '^src/(grpc|undici)/' },
    },
    {
      name: 'reflection-behind-its-own-entry',
      comment: 'protobufjs and proto-loader are loaded by etcdkit/proto and by nobody else. Types cost nothing.',
      severity: 'error',
      from: { path: '^(src|recipes)/', pathNot: '^src/protocol/package-definition\\.ts$' },
      to: { path: 'node_modules/(protobufjs|@grpc/proto-loader)/', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'package-definition-is-an-entry',
      comment: 'Importing it would load protobufjs into every program.',
      severity: 'error',
      from: { path: '^(src|recipes)/' },
      to: { path: '^src/protocol/package-definition\\.ts$' },
    },
    {
      name: 'no-telemetry-sdk',
      comment: 'The library knows the OpenTelemetry API; SDK and exporter are the choice of the program.',
      severity: 'error',
      from: { path: '^(src|recipes)/', pathNot: '^src/telemetry/setup[^/]*\\.ts$' },
      to: { path: 'node_modules/@opentelemetry/(?!api/)' },
    },
    {
      name: 'no-cycles',
      comment: 'Imports of types count.',
      severity: 'error',
      from: { pathNot: '^test/' },
      to: { circular: true },
    },
    {
      name: 'no-cycles-in-tests',
      comment: 'There, parts of one machine may know the types of each other.',
      severity: 'error',
      from: { path: '^test/' },
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'everything-resolves',
      comment: 'An import that cannot be found would pass every other rule.',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'types', 'node', 'default'] },
  },
};
