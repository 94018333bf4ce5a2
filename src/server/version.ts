/**
 * The release of etcd that this server says it is: clients and tools choose by it what they may ask for.
 *
 * @module
 */

/** As in Status and at /version. */
export const ETCD_VERSION = '3.5.30';
