// Whom a device tells of its jobs. `JobChannel` makes one that leads to JavaScript; a test without Node makes its own.
#pragma once

#include <cstdint>
#include <functional>

#include "failure.h"

namespace unicorn {

// Both may be called from any thread.
struct JobListener {
  // Called once for each job. `failure` is null when it went well, and lives as long as the call.
  std::function<void(uint32_t job, const Failure* failure)> ended;
  // Called any number of times before that: how many bytes a job that loads has done.
  std::function<void(uint32_t job, uint64_t loadedBytes)> progressed;
};

}  // namespace unicorn
