// Measures how fast this machine reads memory.
#pragma once

#include <cstdint>

namespace unicorn {

// Bytes per second that `threads` threads read together from a buffer of `byteLength`: the best of several passes.
double measureReadBandwidth(int threads, int64_t byteLength);

}  // namespace unicorn
