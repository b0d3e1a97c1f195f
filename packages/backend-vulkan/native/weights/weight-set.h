// Weights in device memory, laid out as `weight-layout.h` says, or left in their file: for rows to be gathered from, or,
// where memory is unified and the file has them as the device does, to be read there by the device itself.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <unicorn/mapped-file.h>

#include "../device/device.h"
#include "weight-layout.h"

namespace unicorn {

struct WeightRequest {
  std::string name;  // for sentences
  WeightLayout layout{};
  int32_t path = -1;  // index in `paths`; -1: `bytes`
  uint64_t offset = 0, byteLength = 0;
  bool inHostMemory = false;
  std::vector<uint8_t> bytes;
};

struct WeightRequests {
  std::vector<std::string> paths;
  std::vector<WeightRequest> entries;
};

// How a load is ended early, and how it reports progress.
struct LoadControl {
  std::shared_ptr<std::atomic<bool>> abort;  // its caller's
  const std::atomic<bool>* stop;             // the device is being closed
  std::function<void(uint64_t sourceBytes)> progressed;
  // The device's queue begins nothing more before this has been reached.
  std::function<void(std::shared_ptr<Timeline> timeline, uint64_t value)> uploaded;
};

class WeightSet {
 public:
  // Throws Failure usage/file, format/truncated, format/changed, device/io, resource/memory, usage/cancelled, device/closed, device/lost.
  static std::shared_ptr<WeightSet> load(std::shared_ptr<Device> device, WeightRequests requests,
                                         const LoadControl& control);

  size_t size() const { return weights_.size(); }
  // 0 for those in host memory.
  VkDeviceAddress address(size_t index) const { return weights_[index].address; }
  uint64_t deviceBytes() const { return deviceBytes_; }
  // Bytes that are read where the file is mapped; no part of deviceBytes.
  uint64_t importedBytes() const { return importedBytes_; }
  uint64_t gatheredBytes() const { return gatheredBytes_.load(); }
  // Files that the device reads where they are mapped. Whoever has used them asks afterwards whether they were intact.
  const std::vector<std::shared_ptr<const MappedFile>>& importedFiles() const { return importedFiles_; }
  const Device& device() const { return *device_; }
  bool inHostMemory(size_t index) const { return weights_[index].source != nullptr; }

  // The layout of `count` rows of a weight, laid out for themselves.
  WeightLayout gatheredLayout(size_t index, int64_t count) const;
  // Rows of a weight in host memory, whose indexes are in range, to `target`, which has gatheredLayout's length. Throws
  // Failure format/truncated, format/changed, device/io when the file of the weight is no longer what it was.
  void gather(size_t index, const std::vector<int64_t>& rows, uint8_t* target);
  int64_t rows(size_t index) const { return weights_[index].layout.rows; }

 private:
  friend class WeightLoader;
  struct Weight {
    WeightLayout layout{};
    VkDeviceAddress address = 0;
    const uint8_t* source = nullptr;  // in host memory
    std::shared_ptr<MappedFile> file;
    uint64_t fileOffset = 0;
    std::vector<uint8_t> bytes;
  };

  explicit WeightSet(std::shared_ptr<Device> device) : device_(std::move(device)) {}
  std::shared_ptr<Device> device_;
  std::vector<Weight> weights_;
  std::vector<std::shared_ptr<Buffer>> buffers_;
  std::vector<std::shared_ptr<const MappedFile>> importedFiles_;
  uint64_t deviceBytes_ = 0;
  uint64_t importedBytes_ = 0;
  std::atomic<uint64_t> gatheredBytes_{0};
};

}  // namespace unicorn
