/** The gate of the gRPC fault proxy: each message of a client waits for its verdict. */
import http2 from 'node:http2';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { describeOnRealEtcd } from '../support/fixtures.ts';
import { type ClientMessage, GrpcFaultProxy, type Verdict } from '../support/grpc-fault-proxy.ts';
import { connect, fields, RawCall } from './h2-client.ts';

const PUT = '/etcdserverpb.KV/Put';
const KEEP_ALIVE = '/etcdserverpb.Lease/LeaseKeepAlive';

describeOnRealEtcd('GrpcFaultProxy with a gate', (suite) => {
  let verdict: Verdict | Promise<Verdict>;
  let seen: ClientMessage[];
  let proxy: GrpcFaultProxy;
  let session: ReturnType<typeof connect>;
  let key: string;
  beforeEach(async () => {
    verdict = 'forward';
    seen = [];
    const gate = (message: ClientMessage): Verdict | Promise<Verdict> => {
      seen.push(message);
      return verdict;
    };
    proxy = await GrpcFaultProxy.start({ target: suite.cluster.members[0]?.address ?? '', gate });
    session = connect(proxy.address);
    key = `${suite.prefix()}a`;
  });
  afterEach(async () => {
    session.destroy();
    await proxy[Symbol.asyncDispose]();
  });

  const put = (value: string): Promise<string> => new RawCall(session, PUT).finish(fields({ 1: key, 2: value }));
  const stored = async (): Promise<string> =>
    (await suite.cluster.etcdctl(['get', '--print-value-only', key])).trimEnd();

  it('shows each message, whole and in order, and lets it go on', async () => {
    expect(await put('1')).toBe('status 0');
    const keepAlive = new RawCall(session, KEEP_ALIVE).send(fields({})).send(fields({}));
    expect(await keepAlive.finish()).toBe('status 0');
    expect(keepAlive.messages).toHaveLength(2);
    expect(seen.map(({ call, nth }) => [call.path, nth])).toEqual([
      [PUT, 1],
      [KEEP_ALIVE, 1],
      [KEEP_ALIVE, 2],
    ]);
    expect(Buffer.from(seen[0]?.payload ?? [])).toEqual(Buffer.from(fields({ 1: key, 2: '1' })));
    expect(await stored()).toBe('1');
  });

  it('holds a message up until there is a verdict, and the end of the request behind it', async () => {
    let decide!: (verdict: Verdict) => void;
    verdict = new Promise((resolve) => {
      decide = resolve;
    });
    const call = put('held');
    await expect.poll(() => seen.length).toBe(1);
    expect(await stored()).toBe('');
    decide('forward');
    expect(await call).toBe('status 0');
    expect(await stored()).toBe('held');
  });

  it('cuts the connection instead of letting a message go on', async () => {
    verdict = 'cut';
    expect(await put('never')).toMatch(/^reset/);
    await expect.poll(() => proxy.connections.open).toBe(0);
    expect(await stored()).toBe('');
  });

  it('keeps the reply of a unary call, and the next reply of a stream, from the client', async () => {
    verdict = 'swallow';
    expect(await put('done')).toBe(`reset ${http2.constants.NGHTTP2_INTERNAL_ERROR}`);
    expect(await stored()).toBe('done');
    verdict = 'forward';
    const keepAlive = new RawCall(session, KEEP_ALIVE).send(fields({}));
    await expect.poll(() => keepAlive.messages.length).toBe(1);
    verdict = 'swallow';
    keepAlive.send(fields({}));
    expect(await keepAlive.outcome()).toBe(`reset ${http2.constants.NGHTTP2_INTERNAL_ERROR}`);
    expect(keepAlive.messages).toHaveLength(1);
    // Only that call: the connection is as it was.
    verdict = 'forward';
    expect(await put('again')).toBe('status 0');
  });
});
