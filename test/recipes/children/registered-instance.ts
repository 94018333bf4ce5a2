/** Registers an instance under a fixed id that waits for its former life and drains at SIGTERM; says when it is registered. */
import { jsonLayout } from '../../../recipes/services/json-layout.ts';
import { Registration } from '../../../recipes/services/registration/registration.ts';
import { Etcd } from '../../../src/index.ts';

const [endpoint = ''] = process.argv.slice(2);
const etcd = new Etcd({ endpoints: [endpoint] });
const spec = { name: 'orders', id: 'a', address: '10.0.0.7', port: 8080 };
const registration = await Registration.start(etcd, jsonLayout(), spec, {
  ttlSeconds: 5,
  whenTaken: 'wait',
  drainOn: ['SIGTERM'],
  drain: { propagationMs: 50 },
});
console.log(JSON.stringify({ key: registration.key }));
