/**
 * Why the server does not start.
 *
 * @module
 */

/** The command line is none: the usage is shown, and the process ends with 2. */
export class UsageError extends Error {
  override name = 'UsageError';
}

/** The settings can't be: the process ends with 1, and its last line says so. */
export class SettingsError extends Error {
  override name = 'SettingsError';
  /** What the log line says besides. */
  readonly fields: Readonly<Record<string, unknown>>;

  constructor(message: string, fields: Readonly<Record<string, unknown>> = {}, options?: ErrorOptions) {
    super(message, options);
    this.fields = fields;
  }
}
