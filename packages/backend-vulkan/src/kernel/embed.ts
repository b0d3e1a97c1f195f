/** Rows of a table by id, or all rows of a stored weight in order, decoded to f32. */
import {
  f32,
  maximumGroups,
  optional,
  read,
  u32,
  write,
  type DeviceTraits,
  type Dispatch,
} from '../dispatch.js';
import { matrixOf } from './matrix.js';
import type { EmbedCall } from './operand.js';

/** Columns that an invocation decodes: what lies together in memory. */
const unitColumns = { planes: 32, stored: 4 } as const;

export function embed(
  { ids, table, out, scale, beyond, faults }: EmbedCall,
  traits: DeviceTraits,
): Dispatch[] {
  const matrix = matrixOf(table);
  const tokens = ids ? ids.shape.reduce((a, b) => a * b, 1) : matrix.rows;
  // An id is out of range in a table without rows, whatever it is: there is nothing to read, and the host notices.
  if (tokens === 0 || matrix.columns === 0 || matrix.rows === 0) return [];
  const units = Math.ceil(matrix.columns / unitColumns[matrix.planes ? 'planes' : 'stored']);
  const size = Math.min(traits.software ? 32 : 64, traits.maxInvocations);
  return [
    {
      kernel: {
        shader: `embed-${matrix.dtype}`,
        constants: [size, beyond === 'firstRow' ? 1 : 0, ids ? 1 : 0],
      },
      arguments: [
        optional(ids?.place),
        read(matrix.place),
        write(out.place),
        ids ? read(faults) : { kind: 'null' },
        u32(tokens),
        u32(matrix.columns),
        u32(matrix.rows),
        u32(matrix.storedRows),
        u32(matrix.storedColumns),
        u32(matrix.rowStart),
        u32(matrix.columnStart),
        f32(scale),
      ],
      groups: [Math.ceil(units / size), Math.min(tokens, maximumGroups), 1],
      name: `embed ${matrix.dtype}`,
    },
  ];
}
