/** Pieces of TypeScript text. */
import { jsonName } from './model.ts';

const WIDTH = 120;

/**
 * A doc comment. Field names in backticks are spelt as TypeScript has them.
 *
 * @param indent Spaces before each line.
 */
export function doc(text: string, indent = ''): string {
  const named = text.replace(/`[a-z]+(?:_[a-zA-Z]+)+`/g, jsonName);
  const lines = named.split('\n').flatMap((paragraph) => wrap(paragraph, WIDTH - indent.length - 3));
  const [only] = lines;
  if (lines.length === 1 && only !== undefined && indent.length + only.length + 7 <= WIDTH) {
    return `${indent}/** ${only} */\n`;
  }
  return `${indent}/**\n${lines.map((line) => `${indent} * ${line}`.trimEnd()).join('\n')}\n${indent} */\n`;
}

function wrap(paragraph: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of paragraph.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

/** The name of a message's table of field names. */
export function fieldsConst(ts: string): string {
  return `${ts.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toUpperCase()}_FIELDS`;
}

/** `etcdserverpb` lives in `etcdserverpb.ts`, `grpc.health.v1` in `grpc_health_v1.ts`. */
export function fileName(packageName: string): string {
  return `${packageName.replaceAll('.', '_')}.ts`;
}
