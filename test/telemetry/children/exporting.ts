/**
 * A program that sets OpenTelemetry up by our one call, puts some keys and ends. Prints one line of JSON for each thing
 * that the test looks at.
 */
import { Etcd } from '../../../src/index.ts';
import { startTelemetry } from '../../../src/telemetry/setup.ts';

const [way = '', endpoint = '', count = '1'] = process.argv.slice(2);
const say = (what: object): void => console.log(JSON.stringify(what));

const telemetry = await startTelemetry({
  serviceName: 'by-option',
  attributes: { 'service.version': '1.2.3', 'deployment.environment.name': 'by-option' },
  shutdownTimeoutMs: 300,
});
say({ enabled: telemetry.enabled });
if (way === 'twice') await startTelemetry().catch((error: Error) => say({ twice: error.message }));
const etcd = new Etcd({ endpoints: endpoint });
for (let index = 0; index < Number(count); index++) await etcd.put(`exported/${index}`, 'secret-value');
say({ put: Number(count) });
await etcd.close();
await telemetry.shutdown();
say({ over: true });
// A request to a collector that hangs is the exporter's, and holds the process for its own time.
process.exit();
