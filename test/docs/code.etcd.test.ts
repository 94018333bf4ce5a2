/** The code in the documents compiles, runs, ends by itself, and prints what the text says. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeOnRealEtcd } from '../support/fixtures.ts';
import { codeBlocks, Programs } from './code-blocks.ts';

const blocks = [...(await codeBlocks('README.md')), ...(await codeBlocks('docs/server.md'))];

/** What each program prints, in the order of the files. */
const printed = [/^17\n$/, /^42 Ada\n$/, /^mine\n$/, /^unavailable no\n$/, /^http:\/\/127\.0\.0\.1:\d+\n$/];

describeOnRealEtcd(
  'the code in the documents',
  (suite) => {
    let programs: Programs;
    beforeAll(async () => {
      programs = await Programs.create();
    });
    afterAll(() => programs[Symbol.asyncDispose]());

    it('is all expected', () => {
      expect(blocks.map(({ at }) => at)).toHaveLength(printed.length);
    });

    it('compiles', async () => {
      for (const block of blocks) await programs.add(block);
      await programs.checkTypes();
    });

    it.each(blocks.map((block, index) => ({ ...block, expected: printed[index] })))('runs: $at', async (block) => {
      const file = await programs.add(block);
      const output = await programs.run(file, { ETCD_ENDPOINTS: suite.cluster.endpoints.join(',') });
      expect(output).toMatch(block.expected ?? /never/);
    });
  },
  { versions: ['3.5'] },
);
