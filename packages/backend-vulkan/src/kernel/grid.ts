/** Grids: how many workgroups, folded over two axes, since each axis is limited to 65,535. */
import { maximumGroups } from '../dispatch/dispatch.js';

/** Invocations of a workgroup, for kernels without a reason for another size. Every device has them. */
export const workgroupSize = 256;

/** At least `count` workgroups; shaders number them `x + y * gl_NumWorkGroups.x` and leave out what is too many. */
export function foldedGroups(count: number): [number, number, number] {
  const y = Math.ceil(count / maximumGroups);
  return [Math.ceil(count / y), y, 1];
}

/** Workgroups for `elements`, each workgroup taking `perInvocation` elements for each of its invocations. */
export function groupsFor(
  elements: number,
  perInvocation = 1,
  size = workgroupSize,
): [number, number, number] {
  return foldedGroups(Math.ceil(elements / (size * perInvocation)));
}

export function product(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}
