/**
 * Services: registering instances, finding them, choosing among them.
 *
 * @module
 */

export type {
  Balancer,
  BalancerFactory,
  BalancerName,
  BalancerTools,
  Candidate,
  Outcome,
  PickOptions,
  Report,
} from './balance/balancer.ts';
export type { ConsistentHashOptions } from './balance/consistent-hash.ts';
export type { Ejected, EjectionOptions } from './balance/ejection.ts';
export type { OutlierOptions } from './balance/outliers.ts';
export type { P2cEwmaOptions } from './balance/p2c-ewma.ts';
export type { SlowStartOptions } from './balance/slow-start.ts';
export { type BalancerOptions, balancer } from './balance/strategies.ts';
export { type SubsetOptions, subset } from './balance/subset.ts';
export type { ZoneAwareOptions } from './balance/zone-aware.ts';
export type { DiscoveredService, DiscoveryChange, Picked } from './discovered.ts';
export { type DiscoverOptions, Discovery } from './discovery/discovery.ts';
export type { InstanceFilter } from './discovery/filter.ts';
export type { PickerOptions } from './discovery/picker.ts';
export type { ProtectOptions } from './discovery/protection.ts';
export type { BadEntry } from './discovery/service-table.ts';
export { InstanceIdTakenError, NoInstanceError, type NoInstanceReason } from './errors.ts';
export { goLayout } from './go-layout.ts';
export { authorityOf, type InstanceStatus, type Metadata, type ServiceInstance } from './instance.ts';
export { jsonLayout } from './json-layout.ts';
export type {
  DecodedRecord,
  InstanceName,
  LayoutOptions,
  ServiceLayout,
  ServiceRecord,
  TypedLayoutOptions,
} from './record.ts';
export { type Check, CheckFailedError, type CheckOptions, type CheckState } from './registration/checks.ts';
export type { DrainOptions } from './registration/drain.ts';
export { type GrpcHealthCheckOptions, grpcHealthCheck } from './registration/grpc-health.ts';
export type { InstancePatch, InstanceSpec, RegisterOptions } from './registration/options.ts';
export { type HttpCheckOptions, httpCheck, type TcpCheckOptions, tcpCheck } from './registration/probes.ts';
export { Registration, type RegistrationState } from './registration/registration.ts';
export { type RegisteredServices, ServiceRegistry, type ServiceRegistryOptions } from './service-registry.ts';
