// Rows of a table by id, or all of them in order, as f32: out[token] = table[ids[token]] * scale. Each invocation decodes
// the unit of columns that the table's type is stored in.
#version 460
#include "include/fault.glsl"
#include "include/memory.glsl"
#include "include/weights.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const bool firstRowBeyond = false;
layout(constant_id = 2) const bool hasIds = true;

layout(push_constant, scalar) uniform Arguments {
  IntsIn ids;
  Vectors table;
  Floats result;
  Faults faults;
  uint tokens;
  // Columns and first row of the part of the table that is read.
  uint columns;
  uint rows;
  // Size of the whole table; `storedColumns` is the stride of a row in elements.
  uint storedRows;
  uint storedColumns;
  uint rowStart;
  uint columnStart;
  float factor;
};

#if PLANES
#define UNIT 32
#else
#define UNIT 4
#endif

void main() {
  uint units = (columns + UNIT - 1) / UNIT;
  uint unit = gl_WorkGroupID.x * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (unit >= units) return;
#if PLANES
  Matrix m = matrixAt(table, storedRows, storedColumns);
#endif
  for (uint token = gl_WorkGroupID.y; token < tokens; token += gl_NumWorkGroups.y) {
    uint row = token;
    if (hasIds) {
      int id = ids.at[token];
      // No token, which sample gives for logits that are no numbers.
      if (id == -1) id = 0;
      row = uint(id);
      if (row >= rows) {
        // Any other negative id is a fault always.
        if (!firstRowBeyond || id < 0) {
          if (unit == 0) noteFault(faults, FAULT_TOKEN_ID, uint(id), rows);
        }
        row = 0;
      }
    }
    row += rowStart;
    uint column = unit * UNIT;
    uint to = token * columns + column;
#if PLANES
    RawGroup raw = loadGroup(m, row, (columnStart + column) / 32u);
    vec2 scales = groupScales(raw);
    float minimum = groupMinimum(raw);
    [[unroll]] for (uint word = 0; word < 8; word++) {
      vec4 four = decode(raw, word, scales[word / 4], minimum) * factor;
      [[unroll]] for (uint i = 0; i < 4; i++) result.at[to + 4 * word + i] = four[i];
    }
#else
    uint from = row * storedColumns + columnStart + column;
    [[unroll]] for (uint i = 0; i < UNIT; i++) {
      if (column + i < columns) result.at[to + i] = elementAt(table, from + i) * factor;
    }
#endif
  }
}
