/**
 * Who makes a call: a token says it, or else the client's certificate.
 *
 * A token that is not good is refused, also where the certificate would do. At the JSON gateway a certificate is one of
 * whoever stands between, so a named one is turned away there, as by etcd. While authentication is off nobody is asked,
 * and a token that is left from before does no harm.
 *
 * Source: https://etcd.io/docs/v3.5/op-guide/authentication/rbac/#using-tls-common-name, servers 3.5 as observed.
 *
 * @module
 */
import { GrpcCode } from '../../protocol/status.ts';
import { AuthError } from '../auth/errors.ts';
import { type Actor, NOBODY } from '../auth/store.ts';
import { tokenOf } from '../auth/tokens.ts';
import type { ServingMember } from '../member/serving.ts';
import { type Refusal, RpcError } from '../refusals.ts';
import type { ServerCall } from '../rpc/call.ts';

/** For a gateway's client whose certificate has a name. */
export const NAMED_AT_GATEWAY: Refusal = {
  text: 'CommonName of client sending a request against gateway will be ignored and not used as expected',
  grpcCode: GrpcCode.INVALID_ARGUMENT,
};

/** Names the caller of a call. Asked again and again during a long one, it knows what has changed meanwhile. */
export class Identities {
  readonly #member: ServingMember;
  readonly #clientCertAuth: boolean;

  /** @param clientCertAuth Whether clients' certificates are asked for and checked (`--client-cert-auth`). */
  constructor(member: ServingMember, clientCertAuth: boolean) {
    this.#member = member;
    this.#clientCertAuth = clientCertAuth;
  }

  /**
   * Who it is; {@link NOBODY} if they have not said.
   *
   * @throws RpcError `InvalidAuthToken`, or {@link NAMED_AT_GATEWAY}.
   */
  async of(call: ServerCall): Promise<Actor> {
    const { auth } = this.#member.state;
    if (!auth.enabled) return NOBODY;
    const { metadata, signal, commonName, via } = call;
    const name = this.#clientCertAuth ? commonName : undefined;
    if (name && via === 'gateway') throw new RpcError(NAMED_AT_GATEWAY);
    const token = tokenOf({ token: metadata.get('token'), authorization: metadata.get('authorization') });
    if (token !== undefined) {
      const actor = await this.#member.tokens.resolve(token, signal);
      if (actor instanceof AuthError) throw new RpcError(actor);
      return actor;
    }
    return name === undefined || via === 'gateway' ? NOBODY : auth.actor(name);
  }
}
