// Weights on the device. Matrices that the kernels have a packed form for are packed into anonymous memory, or left in
// the mapped file and packed in passing by the products that read them (WeightForm::inPlace); everything else stays as
// it is. Loading runs on the pool; a set never changes afterwards.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <unicorn/mapped-file.h>

#include "../kernels/kernels.h"
#include "memory.h"
#include "thread-pool.h"

namespace unicorn {

struct WeightRequest {
  std::string name;
  DType dtype;
  int64_t rows;     // all leading axes flattened
  int64_t columns;  // last axis
  bool mayPack;     // false: gathered row by row (host residency), or not a matrix
  // One of the two. `path` is the index of a file in WeightRequests::paths, or -1.
  int32_t path;
  uint64_t offset;
  uint64_t byteLength;
  std::shared_ptr<Pages> bytes;
};

// Whether matrices that have a packed form are packed. Those that come without a file always are.
enum class WeightPlacement : int32_t {
  automatic,  // mapped when packing them would keep the caller waiting
  packed,
  mapped,
};

struct WeightRequests {
  WeightPlacement placement = WeightPlacement::automatic;
  std::vector<std::string> paths;
  std::vector<WeightRequest> entries;
};

struct Weight {
  DType dtype;
  int64_t rows, columns;
  WeightForm form;
  const uint8_t* data;
  int64_t rowStrideBytes;  // raw and in place
  const MappedFile* file;  // that `data` lies in, or null; its reader asks afterwards whether it was intact
};

class WeightSet {
 public:
  struct Progress {
    std::atomic<bool>* abort;
    // Called by one thread at a time, at most a few hundred times.
    std::function<void(uint64_t loadedBytes)> report;
  };

  // Throws Failure format/truncated, format/changed, device/io, usage/file, resource/memory, usage/cancelled.
  static std::shared_ptr<WeightSet> load(const WeightRequests& requests, const Kernels& kernels, ThreadPool& pool,
                                         const Progress& progress);

  const Weight& at(size_t index) const { return weights_.at(index); }
  size_t size() const { return weights_.size(); }
  // Bytes of anonymous memory.
  size_t ownedBytes() const { return ownedBytes_; }

 private:
  std::vector<Weight> weights_;
  std::vector<std::shared_ptr<MappedFile>> files_;
  std::vector<std::shared_ptr<Pages>> pages_;
  size_t ownedBytes_ = 0;
};

}  // namespace unicorn
