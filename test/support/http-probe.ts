/** Small HTTP requests to an etcd member, each on a connection of its own so that nothing stays open. */
import http from 'node:http';
import https from 'node:https';

/** Credentials for a member that serves TLS. */
export interface ProbeTls {
  readonly ca: Buffer;
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** What came back. */
export interface ProbeResponse {
  readonly status: number;
  readonly body: string;
}

/** GETs, or POSTs when there is a body. Rejects on any network error and after `timeoutMs`. */
export function probe(
  url: string,
  options: { tls?: ProbeTls | undefined; body?: unknown; timeoutMs: number },
): Promise<ProbeResponse> {
  const { tls, body, timeoutMs } = options;
  return new Promise((resolve, reject) => {
    const settings = {
      agent: false,
      method: body === undefined ? 'GET' : 'POST',
      signal: AbortSignal.timeout(timeoutMs),
    };
    const request = url.startsWith('https:')
      ? https.request(url, { ...settings, ...tls })
      : http.request(url, settings);
    request.once('error', reject);
    request.once('response', (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
      });
      response.once('error', reject);
      response.once('end', () => resolve({ status: response.statusCode ?? 0, body: text }));
    });
    request.end(body === undefined ? undefined : JSON.stringify(body));
  });
}
