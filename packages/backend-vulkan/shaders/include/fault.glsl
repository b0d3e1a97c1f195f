// Notes that an index is out of range: the submission fails afterwards with what is written here. The twin of `Faults` and
// `faultCodes` in src/kernel/operand.ts. Costs nothing where nothing is wrong.
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_scalar_block_layout : require

#define FAULT_TOKEN_ID 1u
#define FAULT_SLOT 2u
#define FAULT_STARTS 3u
#define FAULT_BLOCK_TABLE 4u
#define FAULT_ROW 5u
#define FAULT_LOGIT_BIAS 6u
#define FAULT_SAMPLING 7u
#define FAULT_HISTORY 8u

layout(buffer_reference, scalar, buffer_reference_align = 4) buffer Faults {
  uint words[];
};

// Only the first fault of a submission is kept.
void noteFault(Faults faults, uint code, uint value, uint limit) {
  uint record = 4u + 4u * faults.words[0];
  if (atomicCompSwap(faults.words[record], 0u, code) == 0u) {
    faults.words[record + 1u] = value;
    faults.words[record + 2u] = limit;
  }
}
