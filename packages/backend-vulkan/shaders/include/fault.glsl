// Notes that an index is out of range: the submission fails afterwards with what is written here. The twin of `Faults` and
// `faultCodes` in src/kernel/operand.ts. Costs nothing where nothing is wrong.
#ifndef FAULT_GLSL
#define FAULT_GLSL
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_scalar_block_layout : require

#define FAULT_TOKEN_ID 1u
#define FAULT_SLOT 2u
#define FAULT_STARTS 3u
#define FAULT_BLOCK_TABLE 4u
#define FAULT_ROW 5u
#define FAULT_LOGIT_BIAS 6u
#define FAULT_HISTORY 8u
#define FAULT_STALLED 9u

layout(buffer_reference, scalar, buffer_reference_align = 4) buffer FaultRecord {
  uint code;
  uint value;
  uint limit;
};

// The push constant points to the address of the submission's record, which changes while the recording stays.
layout(buffer_reference, scalar, buffer_reference_align = 8) readonly buffer Faults {
  FaultRecord record;
};

// One fault of the first kernel that has any is kept. Plain stores, since not every device has atomics on host memory:
// of several invocations with a fault any may win, and they differ in the value only.
void noteFault(Faults faults, uint code, uint value, uint limit) {
  FaultRecord record = faults.record;
  if (record.code != 0u) return;
  record.value = value;
  record.limit = limit;
  record.code = code;
}
#endif
