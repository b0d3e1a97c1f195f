// The functions that one level's table is filled with. Each is defined in the source of the same noun beside this file.
#pragma once

#include "../kernels.h"

namespace unicorn {
namespace UNICORN_LEVEL {

void inverseRms(const float* x, int64_t stride, int64_t columns, float epsilon, int64_t rowBegin, int64_t rowEnd,
                float* inverse);
void quantize(const float* x, int64_t stride, int64_t columns, int64_t rowBegin, int64_t rowEnd, uint8_t* out);
void quantizeNorm(const float* x, int64_t stride, int64_t columns, const float* inverse, const float* weight,
                  float weightOffset, int64_t rowBegin, int64_t rowEnd, uint8_t* out);
void quantizeGlu(Activation f, const float* gate, int64_t gateStride, const float* up, int64_t upStride,
                 int64_t columns, int64_t rowBegin, int64_t rowEnd, uint8_t* out);

void pack(DType dtype, const uint8_t* source, int64_t rowStrideBytes, int64_t rows, int64_t columns, int64_t groupBegin,
          int64_t groupEnd, uint8_t* packed);
// The packing itself, for the kernels of this level: `blocks` packed blocks of 16 rows, the first of which starts at raw.
void packBlocks(DType dtype, const uint8_t* raw, int64_t rowStrideBytes, int64_t blocks, uint8_t* packed);

void matmulQuantized(const QuantizedMatmul& call, int64_t rowBegin, int64_t rowEnd, int64_t groupBegin,
                     int64_t groupEnd, void* scratch);
int64_t matmulQuantizedScratchBytes(const QuantizedMatmul& call);

void matmulFloat(const FloatMatmul& call, int64_t rowBegin, int64_t rowEnd, int64_t groupBegin, int64_t groupEnd,
                 void* scratch);
int64_t matmulFloatScratchBytes(const FloatMatmul& call);
void decode(DType dtype, const uint8_t* source, int64_t count, float* out);

void attention(const Attention& call, const AttentionPlan& plan, int64_t taskBegin, int64_t taskEnd, void* scratch,
               void* partials);
void attentionMerge(const Attention& call, const AttentionPlan& plan, int64_t taskBegin, int64_t taskEnd, void* scratch,
                    void* partials);

void causalConv(const CausalConv& call);
void gatedDelta(const GatedDelta& call, void* scratch);

void exp(const float* x, int64_t count, float* out);
void activate(Activation f, const float* x, int64_t count, float* out);
void activateMultiply(Activation f, const float* gate, const float* up, int64_t count, float* out);
void softcap(float cap, const float* x, int64_t count, float* out);

}  // namespace UNICORN_LEVEL
}  // namespace unicorn
