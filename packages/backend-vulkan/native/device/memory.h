// Device memory: a few large allocations ("blocks"), each with one VkBuffer over all of it, cut into buffers. Addresses are
// buffer device addresses, so a buffer is nothing but a range of a block. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "functions.h"
#include "physical-device.h"

namespace unicorn {

class Device;

enum class MemoryUse {
  device,  // device-local; mapped too where memory is unified
  mapped,  // device-local and mapped where there is such memory (resizable BAR), for little things that the host writes
  host,    // the host's, mapped and cached: what the device leaves for the host, and staging
  shared,  // mapped and cached, of any size, perhaps not coherent: what devices work on in turns
};

struct Block {
  VkDeviceMemory memory = VK_NULL_HANDLE;
  VkBuffer buffer = VK_NULL_HANDLE;
  VkDeviceAddress address = 0;
  uint8_t* mapped = nullptr;  // null where the host cannot address it
  bool cached = false;
  bool coherent = true;   // what the host and the device see is the same without `sync`
  bool whole = false;     // made for one buffer: given back with it
  bool imported = false;  // memory of another owner, used where it lies
  uint32_t type = 0;
  uint64_t byteLength = 0;
  std::map<uint64_t, uint64_t> free;  // offset to length, neighbours merged
};

struct Budget {
  uint64_t budgetBytes;  // that this process may use in all
  uint64_t usedBytes;
};

class Memory {
 public:
  explicit Memory(Device& device);
  ~Memory();

  struct Range {
    Block* block = nullptr;
    uint64_t offset = 0, byteLength = 0;
  };

  // Throws Failure resource/memory, device/lost. `alone`: an allocation of its own, exactly as long.
  Range allocate(uint64_t byteLength, MemoryUse use, bool alone);
  // Memory of the host's as a range: whole pages, which must stay until it is released. Where it is not `writable` the device
  // only reads it; else it is coherent. Its block is null where the driver will not have it.
  Range import(const uint8_t* memory, uint64_t byteLength, bool writable);
  // The least alignment of what is imported; 0 where nothing can be.
  uint64_t importAlignment() const;
  // Makes visible to the host what the device wrote in parts of a range, or the other way about. Parts lie inside the range.
  void sync(const Range& range, bool toHost, const std::vector<std::pair<uint64_t, uint64_t>>& parts);
  void release(const Range& range);

  // vkAllocateMemory calls so far.
  uint64_t allocations() const { return allocations_.load(); }
  // For each heap.
  std::vector<Budget> budgets() const;

 private:
  std::vector<uint32_t> candidates(MemoryUse use) const;
  uint64_t blockBytes(uint32_t type, MemoryUse use) const;
  Block* newBlock(uint64_t byteLength, uint32_t type, bool mapped, VkResult& result);
  VkResult createBlock(Block& block, VkDeviceSize byteLength, bool mapped, const void* hostMemory);
  void destroy(Block& block);
  std::vector<Budget> budgetsLocked() const;

  Device& device_;
  mutable std::mutex mutex_;
  std::list<Block> blocks_;
  std::vector<uint64_t> heapBytes_;  // ours, by heap
  std::atomic<uint64_t> allocations_{0};
};

// A range of device memory that lives until its last holder lets go. Knows the last submission that uses it.
class Buffer {
 public:
  // Memory that is not zeroed.
  static std::shared_ptr<Buffer> allocate(const std::shared_ptr<Device>& device, uint64_t byteLength, MemoryUse use,
                                          bool alone = false);
  // Whole pages of `owner`'s memory, read where they lie; null where the driver refuses them.
  static std::shared_ptr<Buffer> import(const std::shared_ptr<Device>& device, const uint8_t* memory,
                                        uint64_t byteLength, std::shared_ptr<const void> owner);
  // Memory that is read and written where it lies, and must stay until the buffer is gone; null where the driver refuses it,
  // or it does not begin where vectors may. Other data in its first and last page is mapped too, and left alone.
  static std::shared_ptr<Buffer> importWritable(const std::shared_ptr<Device>& device, uint8_t* memory,
                                                uint64_t byteLength);
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  uint64_t byteLength() const { return byteLength_; }
  VkDeviceAddress address() const { return range_.block->address + vkOffset(); }
  VkBuffer vkBuffer() const { return range_.block->buffer; }
  uint64_t vkOffset() const { return range_.offset + shift_; }
  uint8_t* mapped() const { return range_.block->mapped == nullptr ? nullptr : range_.block->mapped + vkOffset(); }
  bool cached() const { return range_.block->cached; }
  bool coherent() const { return range_.block->coherent; }
  // Synchronizes parts (offset, length) of the buffer; does nothing where it is coherent. Throws Failure device/lost.
  void sync(bool toHost, std::vector<std::pair<uint64_t, uint64_t>> parts) const;
  const Device& device() const { return *device_; }

  // Value of the queue's timeline when nothing submitted so far uses it any more.
  std::atomic<uint64_t> lastUse{0};

 private:
  Buffer(std::shared_ptr<Device> device, const Memory::Range& range, uint64_t byteLength)
      : device_(std::move(device)), range_(range), byteLength_(byteLength) {}
  std::shared_ptr<Device> device_;
  Memory::Range range_;
  uint64_t byteLength_;
  uint64_t shift_ = 0;                 // of the buffer in its range: imported memory begins inside a page
  std::shared_ptr<const void> owner_;  // of imported memory
};

}  // namespace unicorn
