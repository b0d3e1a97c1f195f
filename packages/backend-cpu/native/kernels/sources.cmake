# Sources of the kernels, for the CMakeLists that builds the addon. `KERNEL_COMMON_SOURCES` are compiled once with the
# baseline flags. `KERNEL_LEVEL_SOURCES` are compiled once for each level: with `UNICORN_LEVEL=<level>` defined and
# `KERNEL_FLAGS_<level>` (empty when the processor family has no such level). Every level is its own object library.
set(KERNEL_DIR ${CMAKE_CURRENT_LIST_DIR})
set(KERNEL_COMMON_SOURCES
  ${KERNEL_DIR}/dtype.cpp
  ${KERNEL_DIR}/decode-row.cpp
  ${KERNEL_DIR}/packed-weights.cpp
  ${KERNEL_DIR}/attention-plan.cpp
  ${KERNEL_DIR}/dispatch.cpp)
set(KERNEL_LEVEL_SOURCES
  ${KERNEL_DIR}/level/pack.cpp
  ${KERNEL_DIR}/level/quantize.cpp
  ${KERNEL_DIR}/level/matmul-quantized.cpp
  ${KERNEL_DIR}/level/matmul-float.cpp
  ${KERNEL_DIR}/level/attention.cpp
  ${KERNEL_DIR}/level/recurrent.cpp
  ${KERNEL_DIR}/level/elementwise.cpp
  ${KERNEL_DIR}/level/table.cpp)
# -Wno-(maybe-)uninitialized: GCC 12 warns inside its own AVX-512 header.
# No -ffast-math, and contraction off: a fused multiply-add is written where it is meant, so that results repeat.
set(KERNEL_FLAGS -O3 -Wno-uninitialized -Wno-maybe-uninitialized -fno-math-errno -fno-trapping-math -ffp-contract=off -fvisibility=hidden)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|amd64|AMD64")
  set(KERNEL_LEVELS portable avx2 avx512vnni)
  set(KERNEL_FLAGS_portable "")
  set(KERNEL_FLAGS_avx2 -mavx2 -mfma -mf16c)
  set(KERNEL_FLAGS_avx512vnni -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni
    -mprefer-vector-width=512)
else()
  set(KERNEL_LEVELS portable)
  set(KERNEL_FLAGS_portable "")
endif()
