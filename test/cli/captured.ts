/** What a command writes, and how it ends. */

/** The output of a command that has ended. */
export interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Takes what is written, in the place of a stream. */
export class Captured {
  text = '';
  /** Called after each write. */
  written: () => void = () => {};

  write(text: string | Uint8Array): void {
    this.text += typeof text === 'string' ? text : Buffer.from(text).toString('utf8');
    this.written();
  }

  /** Waits until something has been written. */
  async until(wanted: string | RegExp): Promise<void> {
    while (this.text.search(wanted) < 0) {
      await new Promise<void>((resolve) => {
        this.written = resolve;
      });
    }
  }

  /** Runs a command with output of its own. */
  static async run(command: (out: { stdout: Captured; stderr: Captured }) => Promise<number>): Promise<Outcome> {
    const [stdout, stderr] = [new Captured(), new Captured()];
    const status = await command({ stdout, stderr });
    return { status, stdout: stdout.text, stderr: stderr.text };
  }
}
