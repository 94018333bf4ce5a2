/** Uses a client in one of several ways and then has nothing more to do: the process must end by itself. */
import { Etcd } from '../../../../src/client/etcd.ts';

const [way = '', endpoint = ''] = process.argv.slice(2);
const swallow = (error: { code?: string }): void => console.log(error.code);

const ways: Record<string, () => Promise<void>> = {
  async closed() {
    const etcd = new Etcd({ endpoints: endpoint });
    await etcd.put('exit', 'v');
    await etcd.close();
    await etcd.close();
    await etcd.get('exit').catch(swallow);
  },
  // Forgotten, not closed: an idle client must not keep its process.
  async idle() {
    const etcd = new Etcd({ endpoints: endpoint, autoSync: true });
    await etcd.put('exit', 'v');
  },
  async inFlight() {
    const etcd = new Etcd({ endpoints: endpoint });
    await etcd.get('exit');
    const calls = Array.from({ length: 50 }, () =>
      etcd.put('exit', 'v').then(
        () => {},
        () => {},
      ),
    );
    await etcd.close();
    await Promise.all(calls);
  },
  async connecting() {
    const etcd = new Etcd({ endpoints: endpoint });
    const call = etcd.get('exit').catch(swallow);
    await etcd.close();
    await call;
  },
  async handshaking() {
    const etcd = new Etcd({ endpoints: endpoint });
    const call = etcd.get('exit').catch(swallow);
    await new Promise((resolve) => setTimeout(resolve, 200));
    await etcd.close();
    await call;
  },
  async neverUsed() {
    new Etcd({ endpoints: endpoint, autoSync: true });
  },
  // Nobody looks at the promise's failure twice, and nobody but the caller has to look at all.
  async unreachable() {
    const etcd = new Etcd({ endpoints: endpoint, auth: { username: 'u', password: 'p' }, timeoutMs: 300 });
    await Promise.all(Array.from({ length: 20 }, () => etcd.get('exit').catch(swallow)));
    await etcd.close();
  },
};

await ways[way]?.();
console.log('done');
