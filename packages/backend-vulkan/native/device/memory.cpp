#include "memory.h"

#include <algorithm>
#include <string>

#include "device.h"
#include <unicorn/failure.h>

namespace unicorn {
namespace {

// Every buffer begins at a multiple of it: a whole cache line of every GPU, and more than any vector load wants.
constexpr uint64_t granule = 256;

// Device memory is taken in blocks of 256 MiB: a model needs some dozens of them, far below the 4,096 allocations that a
// driver may limit us to. Host and small mapped buffers need far less, and blocks of host memory are pinned.
constexpr uint64_t deviceBlockBytes = uint64_t{256} << 20;
constexpr uint64_t hostBlockBytes = uint64_t{32} << 20;
constexpr uint64_t mappedBlockBytes = uint64_t{4} << 20;

// The bytes that kernels load at once: `bindingAlignment` of src/device/buffer.ts.
constexpr uint64_t vectorBytes = 16;

constexpr VkMemoryPropertyFlags hostWritable =
    VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
// Types with other properties (protected, lazily allocated, uncached by the device) are for other purposes.
constexpr VkMemoryPropertyFlags knownProperties =
    hostWritable | VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | VK_MEMORY_PROPERTY_HOST_CACHED_BIT;

uint64_t roundUp(uint64_t bytes, uint64_t multiple) { return (bytes + multiple - 1) / multiple * multiple; }

bool hasAll(VkMemoryPropertyFlags flags, VkMemoryPropertyFlags wanted) { return (flags & wanted) == wanted; }

}  // namespace

Memory::Memory(Device& device) : device_(device), heapBytes_(device.physical().memory.memoryHeapCount, 0) {}

Memory::~Memory() {
  for (Block& block : blocks_) destroy(block);
}

// Memory types for a use, best first.
std::vector<uint32_t> Memory::candidates(MemoryUse use) const {
  const VkPhysicalDeviceMemoryProperties& memory = device_.physical().memory;
  const bool unified = device_.physical().unified();
  const auto score = [&](VkMemoryPropertyFlags flags) -> int {
    const bool local = hasAll(flags, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT);
    const bool writable = hasAll(flags, hostWritable);
    const bool cached = hasAll(flags, VK_MEMORY_PROPERTY_HOST_CACHED_BIT);
    switch (use) {
      case MemoryUse::device:
        // Where memory is unified, what is not local is the same memory; what the host caches the device must snoop for.
        if (unified) return (local ? 8 : writable ? 1 : 0) + (local && writable ? 4 : 0) + (local && !cached ? 2 : 0);
        return local ? (writable ? 1 : 2) : 0;
      case MemoryUse::mapped: return local ? (writable ? 2 : 1) : 0;
      case MemoryUse::host: return writable ? (cached ? 4 : 2) + (local ? 0 : 1) : 0;
      case MemoryUse::shared: {
        const bool visible = hasAll(flags, VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT);
        // The host reads uncached memory a hundred times slower: rather synchronize. Where memory is unified, local first.
        return visible ? (cached ? 8 : 0) + (writable ? 4 : 0) + (local == unified ? 2 : 1) : 0;
      }
    }
    return 0;
  };
  std::vector<uint32_t> types;
  for (uint32_t i = 0; i < memory.memoryTypeCount; i++) {
    const VkMemoryPropertyFlags flags = memory.memoryTypes[i].propertyFlags;
    if ((flags & ~knownProperties) == 0 && score(flags) > 0) types.push_back(i);
  }
  std::stable_sort(types.begin(), types.end(), [&](uint32_t a, uint32_t b) {
    const int scoreA = score(memory.memoryTypes[a].propertyFlags), scoreB = score(memory.memoryTypes[b].propertyFlags);
    if (scoreA != scoreB) return scoreA > scoreB;
    return memory.memoryHeaps[memory.memoryTypes[a].heapIndex].size >
           memory.memoryHeaps[memory.memoryTypes[b].heapIndex].size;
  });
  return types;
}

uint64_t Memory::blockBytes(uint32_t type, MemoryUse use) const {
  const VkPhysicalDeviceMemoryProperties& memory = device_.physical().memory;
  const uint64_t heap = memory.memoryHeaps[memory.memoryTypes[type].heapIndex].size;
  const uint64_t wanted = use == MemoryUse::device                             ? deviceBlockBytes
                          : use == MemoryUse::host || use == MemoryUse::shared ? hostBlockBytes
                                                                               : mappedBlockBytes;
  // A small heap (256 MiB of BAR, a phone's memory) is not filled by one block.
  return std::max(granule, std::min(wanted, heap / 16 / granule * granule));
}

Memory::Range Memory::allocate(uint64_t byteLength, MemoryUse use, bool alone) {
  const uint64_t rounded = std::max(granule, roundUp(byteLength, granule));
  std::lock_guard<std::mutex> lock(mutex_);
  VkResult result = VK_ERROR_OUT_OF_DEVICE_MEMORY;
  uint64_t left = 0;
  if (rounded > device_.physical().maxAllocationBytes) {
    throw Failure("resource/memory",
                  "A buffer of " + std::to_string(byteLength) + " bytes is more than the device allows in one piece: " +
                      std::to_string(device_.physical().maxAllocationBytes) + ".",
                  {{"byteLength", static_cast<int64_t>(byteLength)},
                   {"maximum", static_cast<int64_t>(device_.physical().maxAllocationBytes)}})
        .withFix("Ask for a smaller context, a smaller model or fewer layers on the device.");
  }
  for (const uint32_t type : candidates(use)) {
    const uint64_t shared = blockBytes(type, use);
    const bool whole = alone || rounded > shared / 4;
    if (!whole) {
      for (Block& block : blocks_) {
        if (block.type != type || block.whole || (use == MemoryUse::shared && block.mapped == nullptr)) continue;
        // The tightest range that fits, so that long ones stay long.
        auto best = block.free.end();
        for (auto range = block.free.begin(); range != block.free.end(); ++range) {
          if (range->second >= rounded && (best == block.free.end() || range->second < best->second)) best = range;
        }
        if (best == block.free.end()) continue;
        const auto [offset, length] = *best;
        block.free.erase(best);
        if (length > rounded) block.free.emplace(offset + rounded, length - rounded);
        return {&block, offset, rounded};
      }
    }
    const uint32_t heap = device_.physical().memory.memoryTypes[type].heapIndex;
    const Budget budget = budgetsLocked().at(heap);
    const uint64_t room = budget.budgetBytes > budget.usedBytes ? budget.budgetBytes - budget.usedBytes : 0;
    left = std::max(left, room);
    // Near the end of the budget a block is as small as it may be.
    for (const uint64_t bytes : {whole ? rounded : shared, rounded}) {
      if (bytes > room) continue;
      Block* block = newBlock(bytes, type, use == MemoryUse::shared, result);
      if (block == nullptr) continue;
      block->whole = whole || bytes == rounded;
      if (bytes > rounded) block->free.emplace(rounded, bytes - rounded);
      return {block, 0, rounded};
    }
    if (result == VK_ERROR_DEVICE_LOST) break;
  }
  if (result == VK_ERROR_DEVICE_LOST) throw device_.lost("vkAllocateMemory");
  throw Failure("resource/memory",
                device_.name() + " has no room for " + std::to_string(byteLength) + " bytes: " + std::to_string(left) +
                    " are left.",
                {{"byteLength", static_cast<int64_t>(byteLength)}, {"leftBytes", static_cast<int64_t>(left)}})
      .withFix(
          "Ask for a smaller context, a smaller model or fewer layers on the device, or end other programs that use it.");
}

void Memory::release(const Range& range) {
  std::lock_guard<std::mutex> lock(mutex_);
  Block& block = *range.block;
  auto [at, inserted] = block.free.emplace(range.offset, range.byteLength);
  const auto next = std::next(at);
  if (next != block.free.end() && at->first + at->second == next->first) {
    at->second += next->second;
    block.free.erase(next);
  }
  if (at != block.free.begin()) {
    const auto before = std::prev(at);
    if (before->first + before->second == at->first) {
      before->second += at->second;
      block.free.erase(at);
    }
  }
  if (block.free.begin()->second != block.byteLength) return;
  // The last shared block of a type stays: what comes and goes in every step (staging) allocates nothing.
  const bool another = std::any_of(blocks_.begin(), blocks_.end(), [&](const Block& other) {
    return &other != &block && other.type == block.type && !other.whole;
  });
  if (!block.whole && !another) return;
  destroy(block);
  blocks_.remove_if([&](const Block& each) { return &each == &block; });
}

Block* Memory::newBlock(uint64_t byteLength, uint32_t type, bool mapped, VkResult& result) {
  Block block;
  block.type = type;
  block.byteLength = byteLength;
  result = createBlock(block, byteLength, mapped, nullptr);
  if (result != VK_SUCCESS) return nullptr;
  heapBytes_[device_.physical().memory.memoryTypes[type].heapIndex] += byteLength;
  blocks_.push_back(std::move(block));
  return &blocks_.back();
}

// The buffer and the memory of a block whose type is chosen. `mapped`: also where it is not coherent. `hostMemory`: import
// it instead of allocating.
VkResult Memory::createBlock(Block& block, VkDeviceSize byteLength, bool mapped, const void* hostMemory) {
  const DeviceFunctions& vk = device_.vk();
  VkExternalMemoryBufferCreateInfo external{};
  external.sType = VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO;
  external.handleTypes = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT;
  VkBufferCreateInfo buffer{};
  buffer.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO;
  buffer.pNext = hostMemory == nullptr ? nullptr : &external;
  buffer.size = byteLength;
  buffer.usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                 VK_BUFFER_USAGE_TRANSFER_DST_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT;
  buffer.sharingMode = VK_SHARING_MODE_EXCLUSIVE;
  VkResult result = vk.CreateBuffer(device_.handle(), &buffer, nullptr, &block.buffer);
  if (result != VK_SUCCESS) return result;
  VkMemoryRequirements requirements{};
  vk.GetBufferMemoryRequirements(device_.handle(), block.buffer, &requirements);
  VkMemoryAllocateFlagsInfo flags{};
  flags.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO;
  flags.flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT;
  VkImportMemoryHostPointerInfoEXT import{};
  import.sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT;
  import.handleType = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT;
  // The type has no const; memory that is imported for reading is never written.
  import.pHostPointer = const_cast<void*>(hostMemory);
  VkMemoryAllocateInfo allocate{};
  allocate.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO;
  allocate.pNext = &flags;
  allocate.allocationSize = requirements.size;
  allocate.memoryTypeIndex = block.type;
  result = VK_ERROR_OUT_OF_DEVICE_MEMORY;
  bool fits = (requirements.memoryTypeBits >> block.type & 1) != 0;
  if (hostMemory != nullptr) {
    flags.pNext = &import;
    // No more than there is may be imported.
    fits = fits && requirements.size <= byteLength;
    allocate.allocationSize = byteLength;
  }
  if (fits) {
    allocations_++;
    result = vk.AllocateMemory(device_.handle(), &allocate, nullptr, &block.memory);
  }
  if (result == VK_SUCCESS) result = vk.BindBufferMemory(device_.handle(), block.buffer, block.memory, 0);
  const VkMemoryPropertyFlags properties = device_.physical().memory.memoryTypes[block.type].propertyFlags;
  block.coherent = hasAll(properties, VK_MEMORY_PROPERTY_HOST_COHERENT_BIT) ||
                   !hasAll(properties, VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT);
  if (result == VK_SUCCESS && hostMemory == nullptr &&
      (mapped ? hasAll(properties, VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT) : hasAll(properties, hostWritable))) {
    void* address = nullptr;
    result = vk.MapMemory(device_.handle(), block.memory, 0, VK_WHOLE_SIZE, 0, &address);
    block.mapped = static_cast<uint8_t*>(address);
    block.cached = hasAll(properties, VK_MEMORY_PROPERTY_HOST_CACHED_BIT);
  }
  if (result != VK_SUCCESS) {
    vk.DestroyBuffer(device_.handle(), block.buffer, nullptr);
    vk.FreeMemory(device_.handle(), block.memory, nullptr);
    return result;
  }
  VkBufferDeviceAddressInfo address{};
  address.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO;
  address.buffer = block.buffer;
  block.address = vk.GetBufferDeviceAddress(device_.handle(), &address);
  return VK_SUCCESS;
}

uint64_t Memory::importAlignment() const {
  return device_.vk().GetMemoryHostPointerPropertiesEXT == nullptr ? 0 : device_.physical().hostImportAlignment;
}

Memory::Range Memory::import(const uint8_t* memory, uint64_t byteLength, bool writable) {
  const PhysicalDevice& physical = device_.physical();
  const DeviceFunctions& vk = device_.vk();
  if (importAlignment() == 0) return {};
  VkMemoryHostPointerPropertiesEXT properties{};
  properties.sType = VK_STRUCTURE_TYPE_MEMORY_HOST_POINTER_PROPERTIES_EXT;
  const VkResult asked = vk.GetMemoryHostPointerPropertiesEXT(
      device_.handle(), VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT, memory, &properties);
  if (asked != VK_SUCCESS) return {};
  std::lock_guard<std::mutex> lock(mutex_);
  for (uint32_t type = 0; type < physical.memory.memoryTypeCount; type++) {
    if ((properties.memoryTypeBits >> type & 1) == 0) continue;
    const VkMemoryPropertyFlags flags = physical.memory.memoryTypes[type].propertyFlags;
    if ((flags & ~knownProperties) != 0 || (writable && !hasAll(flags, hostWritable))) continue;
    Block block;
    block.type = type;
    block.byteLength = byteLength;
    block.whole = true;
    block.imported = true;
    if (createBlock(block, byteLength, false, memory) != VK_SUCCESS) continue;
    if (writable) {
      block.mapped = const_cast<uint8_t*>(memory);
      block.cached = true;
    }
    blocks_.push_back(std::move(block));
    return {&blocks_.back(), 0, byteLength};
  }
  return {};
}

void Memory::sync(const Range& range, bool toHost, const std::vector<std::pair<uint64_t, uint64_t>>& parts) {
  const Block& block = *range.block;
  if (block.coherent || block.mapped == nullptr || parts.empty()) return;
  // Whole atoms. Buffers share none: they begin at multiples of the largest that Vulkan allows (256 bytes).
  const uint64_t atom = device_.physical().properties.limits.nonCoherentAtomSize;
  std::vector<VkMappedMemoryRange> ranges;
  for (const auto& [offset, byteLength] : parts) {
    if (byteLength == 0) continue;
    const uint64_t begin = (range.offset + offset) / atom * atom;
    const uint64_t end = std::min(roundUp(range.offset + offset + byteLength, atom), block.byteLength);
    VkMappedMemoryRange one{};
    one.sType = VK_STRUCTURE_TYPE_MAPPED_MEMORY_RANGE;
    one.memory = block.memory;
    one.offset = begin;
    one.size = end == block.byteLength ? VK_WHOLE_SIZE : end - begin;
    ranges.push_back(one);
  }
  if (ranges.empty()) return;
  const auto call = toHost ? device_.vk().InvalidateMappedMemoryRanges : device_.vk().FlushMappedMemoryRanges;
  device_.check(call(device_.handle(), static_cast<uint32_t>(ranges.size()), ranges.data()),
                toHost ? "vkInvalidateMappedMemoryRanges" : "vkFlushMappedMemoryRanges");
}

void Memory::destroy(Block& block) {
  if (device_.isAbandoned()) return;
  const DeviceFunctions& vk = device_.vk();
  vk.DestroyBuffer(device_.handle(), block.buffer, nullptr);
  vk.FreeMemory(device_.handle(), block.memory, nullptr);
  if (!block.imported) heapBytes_[device_.physical().memory.memoryTypes[block.type].heapIndex] -= block.byteLength;
}

std::vector<Budget> Memory::budgets() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return budgetsLocked();
}

std::vector<Budget> Memory::budgetsLocked() const {
  const PhysicalDevice& physical = device_.physical();
  std::vector<Budget> result;
  if (physical.memoryBudget) {
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget{};
    budget.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT;
    VkPhysicalDeviceMemoryProperties2 memory{};
    memory.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2;
    memory.pNext = &budget;
    physical.instance->vk().GetPhysicalDeviceMemoryProperties2(physical.handle, &memory);
    for (uint32_t i = 0; i < physical.memory.memoryHeapCount; i++) {
      result.push_back({budget.heapBudget[i], budget.heapUsage[i]});
    }
    return result;
  }
  for (uint32_t i = 0; i < physical.memory.memoryHeapCount; i++) {
    result.push_back({physical.memory.memoryHeaps[i].size, heapBytes_[i]});
  }
  return result;
}

std::shared_ptr<Buffer> Buffer::allocate(const std::shared_ptr<Device>& device, uint64_t byteLength, MemoryUse use,
                                         bool alone) {
  const Memory::Range range = device->memory().allocate(byteLength, use, alone);
  return std::shared_ptr<Buffer>(new Buffer(device, range, byteLength));
}

std::shared_ptr<Buffer> Buffer::import(const std::shared_ptr<Device>& device, const uint8_t* memory,
                                       uint64_t byteLength, std::shared_ptr<const void> owner) {
  const Memory::Range range = device->memory().import(memory, byteLength, false);
  if (range.block == nullptr) return nullptr;
  auto buffer = std::shared_ptr<Buffer>(new Buffer(device, range, byteLength));
  buffer->owner_ = std::move(owner);
  return buffer;
}

std::shared_ptr<Buffer> Buffer::importWritable(const std::shared_ptr<Device>& device, uint8_t* memory,
                                               uint64_t byteLength) {
  const uint64_t alignment = device->memory().importAlignment();
  const auto address = reinterpret_cast<uintptr_t>(memory);
  if (alignment == 0 || byteLength == 0 || address % vectorBytes != 0) return nullptr;
  const uint64_t shift = address % alignment;
  const Memory::Range range = device->memory().import(memory - shift, roundUp(shift + byteLength, alignment), true);
  if (range.block == nullptr) return nullptr;
  auto buffer = std::shared_ptr<Buffer>(new Buffer(device, range, byteLength));
  buffer->shift_ = shift;
  return buffer;
}

void Buffer::sync(bool toHost, std::vector<std::pair<uint64_t, uint64_t>> parts) const {
  for (auto& part : parts) part.first += shift_;
  device_->memory().sync(range_, toHost, parts);
}

Buffer::~Buffer() {
  device_->memory().release(range_);
  // A device that no longer answers may still read it.
  if (owner_ && device_->isAbandoned()) new std::shared_ptr<const void>(std::move(owner_));
}

}  // namespace unicorn
