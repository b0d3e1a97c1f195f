// States of one slot for each sequence, as the recurrent ops of @unicorn-exec/tensor mean them: slot 0 reads as zeros and
// keeps nothing that is written to it. Needs memory.glsl and fault.glsl.

// In `faultCodes` of src/kernel/operand.ts.
#define FAULT_STATE_SLOT 10u

// The rows of one sequence, and the slots that it reads and writes.
struct Sequence {
  uint begin;
  uint end;
  uint from;
  uint to;
  // False where an index is out of range, which has been noted: then nothing of the state may be touched.
  bool isValid;
};

Sequence sequenceAt(IntsIn starts, IntsIn slots, Faults faults, uint index, uint sequences, uint rows, uint slotCount) {
  int begin = starts.at[index];
  int end = index + 1u < sequences ? starts.at[index + 1u] : int(rows);
  bool ascends = begin >= 0 && begin <= end && end <= int(rows);
  if (!ascends) noteFault(faults, FAULT_STARTS, uint(end > int(rows) ? end : begin), rows);
  uint from = uint(slots.at[2u * index]);
  uint to = uint(slots.at[2u * index + 1u]);
  uint larger = max(from, to);
  if (larger >= slotCount) noteFault(faults, FAULT_STATE_SLOT, larger, slotCount);
  return Sequence(uint(begin), uint(end), from, to, ascends && larger < slotCount);
}
