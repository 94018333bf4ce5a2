/**
 * The Dockerfile, as far as it says what a container of it runs: the last stage's ENTRYPOINT, CMD, ENV and HEALTHCHECK.
 *
 * An instruction it does not know is an error, so that nothing of the file is passed over in silence.
 */
import * as z from 'zod';

/** One instruction, its continued lines joined. */
export interface Instruction {
  readonly name: string;
  readonly text: string;
}

/** What an image says of its containers. */
export interface ImageConfig {
  readonly from: string;
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly healthcheck: readonly string[] | undefined;
  readonly user: string;
  readonly instructions: readonly Instruction[];
}

const KNOWN = ['FROM', 'WORKDIR', 'COPY', 'RUN', 'ENV', 'USER', 'VOLUME', 'EXPOSE'].concat(
  ['STOPSIGNAL', 'HEALTHCHECK', 'ENTRYPOINT', 'CMD'], // of how it runs
);

/** The exec form; the shell form would hide signals from the server. */
const words = z.array(z.string()).min(1);

/** Splits a Dockerfile into instructions. */
export function instructionsOf(dockerfile: string): Instruction[] {
  const lines = dockerfile.split('\n').filter((line) => !line.startsWith('#'));
  const joined = lines.join('\n').replaceAll(/\\\n\s*/g, '');
  return joined.split('\n').flatMap((line) => {
    const [, name, text = ''] = /^(\S+)\s*(.*)$/.exec(line) ?? [];
    if (name === undefined) return [];
    if (!KNOWN.includes(name)) throw new Error(`Dockerfile: ${name} is not understood here`);
    return [{ name, text }];
  });
}

/** What containers of the last stage run. */
export function imageConfigOf(dockerfile: string): ImageConfig {
  const all = instructionsOf(dockerfile);
  const stage = all.slice(all.findLastIndex(({ name }) => name === 'FROM'));
  const textOf = (wanted: string): string | undefined => stage.findLast(({ name }) => name === wanted)?.text;
  const exec = (text: string | undefined): readonly string[] =>
    text === undefined ? [] : words.parse(JSON.parse(text));
  const health = textOf('HEALTHCHECK');
  return {
    from: textOf('FROM') ?? '',
    command: [...exec(textOf('ENTRYPOINT')), ...exec(textOf('CMD'))],
    environment: Object.fromEntries(
      stage
        .filter(({ name }) => name === 'ENV')
        .map(({ text }) => text.split(/=(.*)/s).slice(0, 2) as [string, string]),
    ),
    healthcheck: health === undefined ? undefined : exec(/ CMD (.*)$/.exec(health)?.[1]),
    user: textOf('USER') ?? 'root',
    instructions: all,
  };
}
