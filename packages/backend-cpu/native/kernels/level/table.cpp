// The table of this level.
#include "level.h"

namespace unicorn {
namespace UNICORN_LEVEL {

#define UNICORN_STRING_OF(name) #name
#define UNICORN_STRING(name) UNICORN_STRING_OF(name)

extern const Kernels kernels;
const Kernels kernels = {
    Level::UNICORN_LEVEL,
    UNICORN_STRING(UNICORN_LEVEL),
    inverseRms,
    quantize,
    quantizeNorm,
    quantizeGlu,
    pack,
    matmulQuantized,
    matmulQuantizedScratchBytes,
    matmulFloat,
    matmulFloatScratchBytes,
    decode,
    attention,
    attentionMerge,
    causalConv,
    gatedDelta,
    exp,
    activate,
    activateMultiply,
    softcap,
};

}  // namespace UNICORN_LEVEL
}  // namespace unicorn
