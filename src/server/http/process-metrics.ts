/**
 * The metrics of the process, under the names that Prometheus' own clients use.
 *
 * Not prom-client's default ones: those keep observers of the garbage collector and the event loop for each registry,
 * for as long as the process lives.
 *
 * @module
 */
import { readdirSync, readFileSync } from 'node:fs';
import { Counter, Gauge, type Registry } from 'prom-client';

/** Adds them to a registry. What the platform does not tell is left out. */
export function addProcessMetrics(registry: Registry): void {
  const registers = [registry];
  const gauge = (name: string, help: string, value: () => number | undefined): void => {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.reset();
        const now = value();
        if (now === undefined) this.remove();
        else this.set(now);
      },
    });
  };
  gauge('process_resident_memory_bytes', 'Resident memory in bytes.', () => process.memoryUsage.rss());
  gauge('process_heap_bytes', 'Heap of the JavaScript engine in bytes.', () => process.memoryUsage().heapUsed);
  for (const name of ['process_open_fds', 'os_fd_used']) gauge(name, 'File descriptors that are open.', openFds);
  for (const name of ['process_max_fds', 'os_fd_limit']) gauge(name, 'File descriptors that may be open.', maxFds);
  new Counter({
    name: 'process_cpu_seconds_total',
    help: 'Time on the processor, of user and system, in seconds.',
    registers,
    collect() {
      const { user, system } = process.cpuUsage();
      this.reset();
      this.inc((user + system) / 1e6);
    },
  });
}

function openFds(): number | undefined {
  try {
    return readdirSync('/proc/self/fd').length;
  } catch {
    return undefined;
  }
}

function maxFds(): number | undefined {
  try {
    const [, limit] = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
    return limit === undefined ? undefined : Number(limit);
  } catch {
    return undefined;
  }
}
