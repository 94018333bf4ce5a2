/**
 * What the auth store refuses with, in etcd's words.
 *
 * Refusals are values: they are applied entries' results, the same on every member. The text is what clients go by, the
 * code goes with it on the wire. None says more than its text: no name, key or password is ever in one.
 *
 * Source: etcd `api/v3rpc/rpctypes/error.go`, and the codes that real servers sent.
 *
 * @module
 */
import type { EtcdCode } from '../../protocol/error-table.ts';
import { GrpcCode } from '../../protocol/status.ts';

/** A refusal. There is one of each kind, in {@link AuthErrors}: compare by identity. */
export class AuthError {
  /** Its name in the protocol's error table; several texts may share one. */
  readonly code: EtcdCode;
  readonly text: string;
  readonly grpcCode: GrpcCode;

  constructor(code: EtcdCode, text: string, grpcCode: GrpcCode) {
    this.code = code;
    this.text = text;
    this.grpcCode = grpcCode;
  }
}

const { INVALID_ARGUMENT, FAILED_PRECONDITION, PERMISSION_DENIED, UNAUTHENTICATED, UNKNOWN } = GrpcCode;

function refusal(code: EtcdCode, grpcCode: GrpcCode, text: string): AuthError {
  return new AuthError(code, `etcdserver: ${text}`, grpcCode);
}

/** Every refusal there is. */
export const AuthErrors = {
  RootUserNotFound: refusal('RootUserNotFound', FAILED_PRECONDITION, 'root user does not exist'),
  RootRoleNotGranted: refusal('RootRoleNotGranted', FAILED_PRECONDITION, 'root user does not have root role'),
  UserExists: refusal('UserExists', FAILED_PRECONDITION, 'user name already exists'),
  /** For a user that is to be made, and for who has not said who they are. */
  UserEmpty: refusal('UserEmpty', INVALID_ARGUMENT, 'user name is empty'),
  UserNotFound: refusal('UserNotFound', FAILED_PRECONDITION, 'user name not found'),
  RoleExists: refusal('RoleExists', FAILED_PRECONDITION, 'role name already exists'),
  RoleNotFound: refusal('RoleNotFound', FAILED_PRECONDITION, 'role name not found'),
  RoleEmpty: refusal('RoleEmpty', INVALID_ARGUMENT, 'role name is empty'),
  AuthFailed: refusal('AuthFailed', INVALID_ARGUMENT, 'authentication failed, invalid user ID or password'),
  PermissionNotGiven: refusal('PermissionNotGiven', INVALID_ARGUMENT, 'permission not given'),
  PermissionDenied: refusal('PermissionDenied', PERMISSION_DENIED, 'permission denied'),
  RoleNotGranted: refusal('RoleNotGranted', FAILED_PRECONDITION, 'role is not granted to the user'),
  PermissionNotGranted: refusal('PermissionNotGranted', FAILED_PRECONDITION, 'permission is not granted to the role'),
  AuthNotEnabled: refusal('AuthNotEnabled', FAILED_PRECONDITION, 'authentication is not enabled'),
  InvalidAuthToken: refusal('InvalidAuthToken', UNAUTHENTICATED, 'invalid auth token'),
  InvalidAuthManagement: refusal('InvalidAuthManagement', INVALID_ARGUMENT, 'invalid auth management'),
  AuthOldRevision: refusal('AuthOldRevision', INVALID_ARGUMENT, 'revision of auth store is old'),
  TooManyRequests: refusal('TooManyRequests', GrpcCode.RESOURCE_EXHAUSTED, 'too many requests'),
  Stopped: refusal('Stopped', GrpcCode.UNAVAILABLE, 'server stopped'),
  Canceled: refusal('Canceled', GrpcCode.CANCELLED, 'request canceled'),
  /** Leaks unmapped from etcd, and its clients know it so. */
  NoPasswordUser: new AuthError(
    'AuthFailed',
    'auth: authentication failed, password was given for no password user',
    UNKNOWN,
  ),
} as const satisfies Record<string, AuthError>;
