/**
 * URLs as etcd's flags have them: `http`, `https`, `unix` or `unixs`, a host with a port, and no path.
 *
 * A Unix URL names a socket file by what would be host and path: `unix://localhost:20001` is the file `localhost:20001`
 * in the current folder.
 *
 * @module
 */
import { isIP } from 'node:net';

/** A URL of a flag that has the right form. */
export interface ServerUrl {
  /** As it was given. */
  readonly text: string;
  readonly scheme: 'http' | 'https' | 'unix' | 'unixs';
  /** Without the brackets of IPv6; for a Unix URL the file. */
  readonly host: string;
  /** 0 for a Unix URL. */
  readonly port: number;
}

/** Whether connections to it are to be encrypted. */
export function isSecure({ scheme }: ServerUrl): boolean {
  return scheme === 'https' || scheme === 'unixs';
}

/** Whether it is a file. */
export function isSocketFile({ scheme }: ServerUrl): boolean {
  return scheme === 'unix' || scheme === 'unixs';
}

/** @throws {@link Error} that says in etcd's words what is wrong. */
export function parseUrl(given: string): ServerUrl {
  const text = given.trim();
  const [, scheme, authority, path] = /^([a-zA-Z][a-zA-Z0-9+.-]*):\/\/([^/?#]*)(.*)$/s.exec(text) ?? [];
  if (scheme === undefined || authority === undefined)
    throw new Error(
      /^[a-zA-Z][a-zA-Z0-9+.-]*:/.test(text)
        ? `URL scheme must be http, https, unix, or unixs: ${text}`
        : `parse "${text}": missing protocol scheme`,
    );
  if (scheme === 'unix' || scheme === 'unixs') return { text, scheme, host: `${authority}${path}`, port: 0 };
  if (scheme !== 'http' && scheme !== 'https')
    throw new Error(`URL scheme must be http, https, unix, or unixs: ${text}`);
  const [, bracketed, plain, digits] = /^(?:\[([^\]]*)\]|([^:[\]]*)):(\d{1,5})$/.exec(authority) ?? [];
  const port = Number(digits);
  if (digits === undefined || port > 65_535) throw new Error(`URL address does not have the form "host:port": ${text}`);
  if (path !== '' && path !== '/') throw new Error(`URL must not contain a path: ${text}`);
  return { text: text.replace(/\/$/, ''), scheme, host: bracketed ?? plain ?? '', port };
}

/** A list with commas between; empty for an empty text. In the order of their texts, as etcd keeps them. */
export function parseUrls(text: string): ServerUrl[] {
  if (text.trim() === '') return [];
  return text
    .split(',')
    .map(parseUrl)
    .sort((a, b) => (a.text < b.text ? -1 : a.text > b.text ? 1 : 0));
}

/** What is wrong with a URL to listen on; undefined if nothing is. A name could be many addresses, or another's. */
export function bindingFault(url: ServerUrl): string | undefined {
  if (isSocketFile(url) || url.host === 'localhost' || url.host === '' || isIP(url.host) !== 0) return undefined;
  return `expected IP in URL for binding (${url.text})`;
}

/** `name=url,name=url,…`: the members of a new cluster, each with its peer URLs. @throws {@link Error} with what is wrong. */
export function parseInitialCluster(text: string): Map<string, ServerUrl[]> {
  const members = new Map<string, ServerUrl[]>();
  for (const part of text.split(',').map((item) => item.trim())) {
    if (part === '') continue;
    const split = part.indexOf('=');
    const name = split > 0 ? part.slice(0, split) : '';
    if (name === '' || split === part.length - 1) throw new Error(`empty URL given for "${name || part}"`);
    const urls = members.get(name) ?? [];
    urls.push(parseUrl(part.slice(split + 1)));
    members.set(name, urls);
  }
  return members;
}
