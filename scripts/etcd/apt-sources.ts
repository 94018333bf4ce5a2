/**
 * Reads the machine's own apt sources, in both formats apt knows, so that packages of another Debian release can be
 * taken from the very mirror the machine already trusts. No host name is written in this project.
 */
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';

/** One archive: where it is, which releases and components of it are used, and the key that signs it. */
export interface AptSource {
  readonly uri: string;
  readonly suites: readonly string[];
  readonly components: readonly string[];
  /** Key file, fingerprint or an embedded key block, as the entry has it. */
  readonly signedBy?: string;
  /** The entry's own `Trusted:` setting, kept so that a private mirror goes on working. */
  readonly trusted?: string;
}

/** Parses one-line entries (`deb [signed-by=…] URI suite component…`), skipping source and disabled ones. */
export function parseOneLine(text: string): AptSource[] {
  const sources: AptSource[] = [];
  for (const line of text.split('\n')) {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)([^#]*)/.exec(line);
    if (!match) continue;
    const [, settings = '', uri = '', suite = '', components = ''] = match;
    const setting = (name: string): string | undefined =>
      new RegExp(`(?:^|\\s)${name}=(\\S+)`, 'i').exec(settings)?.[1];
    sources.push(
      source(uri, [suite], words(components), setting('signed-by')?.replaceAll(',', ' '), setting('trusted')),
    );
  }
  return sources;
}

/** Parses deb822 stanzas (`Types:`, `URIs:`, `Suites:`, …), skipping source and disabled ones. */
export function parseDeb822(text: string): AptSource[] {
  const sources: AptSource[] = [];
  const uncommented = text
    .replaceAll('\r', '')
    .split('\n')
    .filter((line) => !line.startsWith('#'));
  for (const stanza of uncommented.join('\n').split(/\n\s*\n/)) {
    const fields = stanzaFields(stanza);
    if (!words(fields.get('types') ?? '').includes('deb')) continue;
    if (/^(no|false|0)$/i.test(fields.get('enabled')?.trim() ?? '')) continue;
    const suites = words(fields.get('suites') ?? '');
    const components = words(fields.get('components') ?? '');
    for (const uri of words(fields.get('uris') ?? '')) {
      sources.push(source(uri, suites, components, fields.get('signed-by'), fields.get('trusted')));
    }
  }
  return sources;
}

/** A deb822 stanza for apt. deb822, since only this format can carry an embedded key. */
export function formatDeb822(source: AptSource, architecture: string): string {
  const lines = [
    'Types: deb',
    `URIs: ${source.uri}`,
    `Suites: ${source.suites.join(' ')}`,
    `Components: ${source.components.join(' ')}`,
    `Architectures: ${architecture}`,
  ];
  if (source.signedBy !== undefined) lines.push(`Signed-By: ${source.signedBy}`);
  if (source.trusted !== undefined) lines.push(`Trusted: ${source.trusted}`);
  return `${lines.join('\n')}\n`;
}

/** Every enabled binary source of the machine; files that are missing or unreadable count as empty. */
export async function machineSources(etcApt = '/etc/apt'): Promise<AptSource[]> {
  const parts = path.join(etcApt, 'sources.list.d');
  const names = await readdir(parts).catch(() => []);
  const sources = parseOneLine(await readText(path.join(etcApt, 'sources.list')));
  for (const name of names.sort()) {
    if (name.endsWith('.list')) sources.push(...parseOneLine(await readText(path.join(parts, name))));
    if (name.endsWith('.sources')) sources.push(...parseDeb822(await readText(path.join(parts, name))));
  }
  return sources;
}

function source(
  uri: string,
  suites: readonly string[],
  components: readonly string[],
  signedBy: string | undefined,
  trusted: string | undefined,
): AptSource {
  return { uri, suites, components, ...(signedBy && { signedBy }), ...(trusted && { trusted }) };
}

/** Fields by lower-case name; continuation lines keep their line break and indent, which an embedded key needs. */
function stanzaFields(stanza: string): Map<string, string> {
  const fields = new Map<string, string>();
  let current = '';
  for (const line of stanza.split('\n')) {
    const field = /^([A-Za-z][A-Za-z0-9-]*):\s*(.*)$/.exec(line);
    if (field) {
      current = (field[1] ?? '').toLowerCase();
      fields.set(current, field[2] ?? '');
    } else if (current && /^\s/.test(line)) {
      fields.set(current, `${fields.get(current) ?? ''}\n${line}`);
    }
  }
  return fields;
}

function words(text: string): string[] {
  return text.split(/\s+/).filter(Boolean);
}

function readText(file: string): Promise<string> {
  return readFile(file, 'utf8').catch(() => '');
}
