import { describe, expect, it } from 'vitest';
import { lookUpEtcdError } from '../../../src/protocol/error-table.ts';
import { AuthErrors } from '../../../src/server/auth/errors.ts';

describe('the refusals of auth', () => {
  it.each(Object.entries(AuthErrors))('%s has a text that clients know by the same name', (_, error) => {
    expect(lookUpEtcdError(error.text)?.code).toBe(error.code);
  });

  it.each([
    ['RootUserNotFound', 9],
    ['RootRoleNotGranted', 9],
    ['UserExists', 9],
    ['UserEmpty', 3],
    ['UserNotFound', 9],
    ['RoleExists', 9],
    ['RoleNotFound', 9],
    ['RoleEmpty', 3],
    ['AuthFailed', 3],
    ['PermissionNotGiven', 3],
    ['PermissionDenied', 7],
    ['RoleNotGranted', 9],
    ['PermissionNotGranted', 9],
    ['AuthNotEnabled', 9],
    ['InvalidAuthToken', 16],
    ['InvalidAuthManagement', 3],
    ['AuthOldRevision', 3],
    ['TooManyRequests', 8],
    ['Stopped', 14],
    ['Canceled', 1],
    ['NoPasswordUser', 2],
  ] as const)('%s goes with code %i', (name, grpcCode) => {
    expect(AuthErrors[name].grpcCode).toBe(grpcCode);
  });
});
