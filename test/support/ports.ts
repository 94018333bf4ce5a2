/** Free ports for servers that must know theirs before they start. */
import net from 'node:net';

/** Below 32768, where the kernel starts to hand out ports of outgoing connections. */
const FIRST = 20_000;
const LAST = 32_000;
/**
 * Test workers that run side by side draw from ranges that do not overlap. Those of two runs at the same time hardly do:
 * a server that is slow to start could be taken for that of the other run which was given the same port.
 */
const WORKERS = 24;

/** Ports stay reserved while this process lives: a member that is down must find its port free when it comes back. */
const reserved = new Set<number>();

/** `count` different loopback ports that nobody listens on. Somebody else may still come first; be ready to retry. */
export async function freePorts(count: number): Promise<number[]> {
  const span = Math.floor((LAST - FIRST) / WORKERS);
  const base = FIRST + ((process.ppid + Number(process.env.VITEST_POOL_ID ?? process.pid)) % WORKERS) * span;
  const ports: number[] = [];
  for (let attempt = 0; ports.length < count; attempt++) {
    if (attempt > 10 * span) throw new Error(`no ${count} free ports between ${base} and ${base + span}`);
    const port = base + Math.floor(Math.random() * span);
    if (reserved.has(port) || !(await isFree(port))) continue;
    reserved.add(port);
    ports.push(port);
  }
  return ports;
}

/** Lets others have the ports again. */
export function releasePorts(ports: Iterable<number>): void {
  for (const port of ports) reserved.delete(port);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = net.createServer();
    probe.once('error', () => resolve(false));
    probe.listen({ port, host: '127.0.0.1', exclusive: true }, () => probe.close(() => resolve(true)));
  });
}
