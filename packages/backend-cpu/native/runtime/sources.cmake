# Sources of the runtime: memory, threads, programs and their steps.
set(RUNTIME_DIR ${CMAKE_CURRENT_LIST_DIR})
set(RUNTIME_SOURCES
  ${RUNTIME_DIR}/bandwidth.cpp
  ${RUNTIME_DIR}/memory.cpp
  ${RUNTIME_DIR}/thread-pool.cpp
  ${RUNTIME_DIR}/weight-set.cpp
  ${RUNTIME_DIR}/program.cpp
  ${RUNTIME_DIR}/device.cpp
  ${RUNTIME_DIR}/rows-step.cpp
  ${RUNTIME_DIR}/matmul-step.cpp
  ${RUNTIME_DIR}/attention-step.cpp
  ${RUNTIME_DIR}/sample-step.cpp
  ${RUNTIME_DIR}/rows/registry.cpp
  ${RUNTIME_DIR}/rows/elementwise.cpp
  ${RUNTIME_DIR}/rows/norm.cpp
  ${RUNTIME_DIR}/rows/rope.cpp
  ${RUNTIME_DIR}/rows/kv-write.cpp
  ${RUNTIME_DIR}/rows/alt-up.cpp
  ${RUNTIME_DIR}/rows/embed.cpp
  ${RUNTIME_DIR}/rows/layout.cpp
  ${RUNTIME_DIR}/rows/log-probabilities.cpp
  ${RUNTIME_DIR}/rows/recurrent.cpp
  ${RUNTIME_DIR}/rows/segment.cpp)
