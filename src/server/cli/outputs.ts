/**
 * Where log lines go.
 *
 * @module
 */
import { openSync, writeSync } from 'node:fs';
import { SettingsError } from './errors.ts';

/** Opens outputs: `stderr`, `stdout`, or files, which are appended to. @throws {@link SettingsError} */
export function openOutputs(names: readonly string[]): ((line: string) => void)[] {
  return names.map((name) => {
    if (name === 'stderr' || name === 'stdout') return toStream(process[name]);
    return toFile(name);
  });
}

/** Both are written to at once where they are files, pipes and terminals. */
function toStream(stream: NodeJS.WriteStream): (line: string) => void {
  // Whoever reads may go away; the server is not there for them.
  if (stream.listenerCount('error') === 0) stream.on('error', () => {});
  return (line) => {
    stream.write(line);
  };
}

function toFile(path: string): (line: string) => void {
  let file: number;
  try {
    file = openSync(path, 'a', 0o600);
  } catch (error) {
    throw new SettingsError(`can't open the log file ${path}: ${(error as NodeJS.ErrnoException).code ?? 'unknown'}`);
  }
  return (line) => {
    try {
      writeSync(file, line);
    } catch {
      // A full disk must not end a server that may still have its data on another.
    }
  };
}
