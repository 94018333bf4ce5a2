import { describe, expect, it } from 'vitest';
import { LogLines, type LogLinesOptions } from '../../../src/server/cli/log-lines.ts';

function lines(options: Partial<LogLinesOptions> = {}) {
  const written: string[] = [];
  const outputs = [(line: string) => written.push(line)];
  return { written, log: new LogLines({ level: 'info', format: 'json', timeOfDay: () => 0, outputs, ...options }) };
}

describe('log lines', () => {
  it('are JSON with the fields of etcd first', () => {
    const { written, log } = lines();
    log.write('info', 'a.ts', 'hello', { n: 1, id: 255n, error: new Error('why') });
    expect(written).toEqual([
      '{"level":"info","ts":"1970-01-01T00:00:00.000Z","caller":"a.ts","msg":"hello","n":1,"id":"ff","error":"why"}\n',
    ]);
  });

  it('leave out what is less pressing', () => {
    const { written, log } = lines({ level: 'error' });
    for (const level of ['debug', 'info', 'warn', 'error', 'fatal'] as const) log.write(level, 'a.ts', level);
    expect(written.map((line) => (JSON.parse(line) as { msg: string }).msg)).toEqual(['error', 'fatal']);
  });

  it('can be for reading', () => {
    const { written, log } = lines({ format: 'console' });
    log.write('warn', 'a.ts', 'hello', { n: 1 });
    expect(written).toEqual(['1970-01-01T00:00:00.000Z\tWARN\ta.ts\thello\t{"n":1}\n']);
  });

  it('are one line each, whatever is in them', () => {
    const { written, log } = lines();
    log.write('info', 'a.ts', 'two\nlines', { text: 'a\nb' });
    expect(written.join('').split('\n')).toHaveLength(2);
  });
});
