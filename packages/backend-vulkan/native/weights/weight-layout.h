// How a weight lies in device memory: the native half of src/weights/weight-layout.ts, which says what each plane holds. Pure
// functions over memory; they know no Vulkan. Laying out moves bits and never rounds.
#pragma once

#include <cstddef>
#include <cstdint>

namespace unicorn {

constexpr int maximumPlanes = 4;

struct WeightPlane {
  int64_t byteOffset;  // from the weight's address
  int64_t rowBytes;
};

struct WeightLayout {
  int32_t dtype;  // position in `dtypes` of packages/tensor
  int64_t rows;
  int64_t columns;
  int64_t sourceRowBytes;  // of a row in the file
  bool inPlanes;           // else as stored, rows padded to 16 bytes: one plane
  int planeCount;
  WeightPlane planes[maximumPlanes];
  int64_t byteLength;
};

// False for a dtype that has no layout on this device, and for rows that are not whole blocks.
bool weightLayout(int32_t dtype, int64_t rows, int64_t columns, WeightLayout* layout);

// Lays out rows [rowBegin, rowEnd). `source` is the first of them in the file; `targets[i]` is where row rowBegin goes in
// plane i. Any alignment will do. Padding is written as zeros.
void layOutRows(const WeightLayout& layout, const uint8_t* source, int64_t rowBegin, int64_t rowEnd,
                uint8_t* const targets[maximumPlanes]);

// The same through a linear staging buffer, for weights that are copied piece by piece.
struct PlaneCopy {
  int64_t stagingOffset;
  int64_t deviceOffset;  // from the weight's address
  int64_t byteLength;
};

// Bytes of staging that `count` rows take: their part of each plane, each at a multiple of 16.
int64_t stagedBytes(const WeightLayout& layout, int64_t count);

// Returns how many copies bring the rows to the device: one a plane.
int layOutStaged(const WeightLayout& layout, const uint8_t* source, int64_t rowBegin, int64_t rowEnd, uint8_t* staging,
                 PlaneCopy copies[maximumPlanes]);

}  // namespace unicorn
