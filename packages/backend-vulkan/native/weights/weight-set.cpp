#include "weight-set.h"

#include <algorithm>
#include <array>
#include <exception>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>

namespace unicorn {
namespace {

// Staged bytes of one task: enough to hide what a submission costs (some 10 us of 250 at 16 GB/s), little enough that
// progress is smooth and that the source pages that are resident at a time are few.
constexpr int64_t taskBytes = int64_t{4} << 20;

// Two slots a worker: one is laid out while the other is copied.
constexpr size_t slotCount = 2;

// Laying out runs at several GB/s a core; more cores than this outrun any bus.
constexpr size_t maximumWorkers = 8;

// Weights share allocations of about this size: few of them, none much longer than what lies in it.
constexpr uint64_t bufferBytes = uint64_t{1} << 30;

constexpr uint64_t weightAlignment = 256;

// What is imported from a file is one allocation for each run of weights: below this size copying costs less than one.
constexpr uint64_t leastImport = uint64_t{1} << 20;

// Weights belong to one run when no more than this lies between them: it is made resident with them.
constexpr uint64_t importGap = uint64_t{64} << 10;

// Kernels read vectors of 16 bytes.
constexpr uint64_t importedAlignment = 16;

uint64_t align(uint64_t bytes) { return (bytes + weightAlignment - 1) / weightAlignment * weightAlignment; }

// The place that a weight is loaded to.
struct Destination {
  std::shared_ptr<Buffer> buffer;
  uint64_t byteOffset = 0;
};

struct Task {
  size_t weight;
  int64_t rowBegin, rowEnd;
};

}  // namespace

class WeightLoader {
 public:
  WeightLoader(std::shared_ptr<Device> device, WeightRequests requests, const LoadControl& control)
      : device_(std::move(device)), requests_(std::move(requests)), control_(control) {}

  std::shared_ptr<WeightSet> load() {
    set_ = std::shared_ptr<WeightSet>(new WeightSet(device_));
    for (const std::string& path : requests_.paths) files_.push_back(MappedFile::open(path));
    findSources();
    import();
    place();
    cut();
    run();
    checkStopped();
    for (const auto& file : files_) file->expectIntact();
    for (WeightSet::Weight& weight : set_->weights_) {
      if (weight.source == nullptr) weight.bytes = {};
    }
    if (timeline_ && submitted_ > 0) {
      if (!timeline_->await(submitted_)) throw device_->lostFailure();
      control_.uploaded(timeline_, submitted_);
    }
    return set_;
  }

 private:
  void findSources() {
    for (WeightRequest& request : requests_.entries) {
      require(request.byteLength == static_cast<uint64_t>(request.layout.sourceRowBytes * request.layout.rows),
              "the bytes of a weight follow from its shape");
      WeightSet::Weight weight;
      weight.layout = request.layout;
      const uint8_t* source;
      if (request.path >= 0) {
        weight.file = files_.at(static_cast<size_t>(request.path));
        weight.fileOffset = request.offset;
        const MappedFile& file = *weight.file;
        file.expectRange(request.offset, request.byteLength, request.name);
        source = file.data() + request.offset;
      } else {
        require(request.bytes.size() == request.byteLength, "a weight has the bytes that its shape asks for");
        weight.bytes = std::move(request.bytes);
        source = weight.bytes.data();
      }
      sources_.push_back(source);
      if (request.inHostMemory) {
        static constexpr uint8_t nothing = 0;
        weight.source = source == nullptr ? &nothing : source;
        done_ += request.byteLength;
      } else {
        weight.file.reset();
      }
      set_->weights_.push_back(std::move(weight));
    }
  }

  // Whether a weight lies in its file in the layout of the device.
  bool isImportable(size_t i) const {
    const WeightRequest& request = requests_.entries[i];
    const WeightLayout& layout = request.layout;
    return request.path >= 0 && !request.inHostMemory && request.byteLength > 0 && !layout.inPlanes &&
           layout.planes[0].rowBytes == layout.sourceRowBytes && request.offset % importedAlignment == 0;
  }

  // On a device that computes in the host's memory, leaves weights in their file that need no other layout. Where the driver
  // refuses a file's pages (amdgpu takes only anonymous memory) they are copied. A driver that computes on the CPU reads them
  // in threads of its own, in which lavapipe blocks SIGBUS: there a page that is lost would end the process.
  void import() {
    const PhysicalDevice& physical = device_->physical();
    if (physical.software() || !physical.unified() || physical.hostImportAlignment == 0) return;
    std::vector<size_t> importable;
    for (size_t i = 0; i < sources_.size(); i++) {
      if (isImportable(i)) importable.push_back(i);
    }
    std::sort(importable.begin(), importable.end(), [&](size_t a, size_t b) {
      const WeightRequest &one = requests_.entries[a], &other = requests_.entries[b];
      return one.path != other.path ? one.path < other.path : one.offset < other.offset;
    });
    const uint64_t limit = std::min(bufferBytes, physical.maxAllocationBytes);
    for (size_t first = 0; first < importable.size();) {
      const WeightRequest& head = requests_.entries[importable[first]];
      uint64_t end = head.offset + head.byteLength;
      size_t last = first + 1;
      for (; last < importable.size(); last++) {
        const WeightRequest& next = requests_.entries[importable[last]];
        const uint64_t nextEnd = std::max(end, next.offset + next.byteLength);
        if (next.path != head.path || next.offset > end + importGap || nextEnd - head.offset > limit) break;
        end = nextEnd;
      }
      importRun({importable.begin() + static_cast<std::ptrdiff_t>(first),
                 importable.begin() + static_cast<std::ptrdiff_t>(last)},
                head.offset, end - head.offset);
      first = last;
    }
  }

  void importRun(const std::vector<size_t>& run, uint64_t offset, uint64_t byteLength) {
    if (byteLength < leastImport) return;
    const std::shared_ptr<MappedFile>& file = files_[static_cast<size_t>(requests_.entries[run[0]].path)];
    const MappedFile::PageRange pages =
        file->pagesAround(offset, byteLength, static_cast<size_t>(device_->physical().hostImportAlignment));
    if (pages.byteLength == 0 || pages.byteLength > device_->physical().maxAllocationBytes) return;
    auto buffer = Buffer::import(device_, pages.data, pages.byteLength, file);
    if (!buffer) return;
    file->prefetch(offset, byteLength);
    for (const size_t i : run) {
      const WeightRequest& request = requests_.entries[i];
      set_->weights_[i].address = buffer->address() + (request.offset - pages.offset);
      set_->importedBytes_ += request.byteLength;
      done_ += request.byteLength;
    }
    set_->buffers_.push_back(std::move(buffer));
    if (set_->importedFiles_.empty() || set_->importedFiles_.back() != file) set_->importedFiles_.push_back(file);
  }

  // In its place, whether it is there to stay or was imported: nothing is left to do.
  bool isPlaced(size_t i) const { return set_->inHostMemory(i) || set_->weights_[i].address != 0; }

  // Gives each weight its place, in as few allocations as may be.
  void place() {
    destinations_.resize(sources_.size());
    const uint64_t limit = std::min(bufferBytes, device_->physical().maxAllocationBytes);
    std::vector<size_t> members;
    uint64_t bytes = 0;
    const auto flush = [&] {
      if (bytes == 0) return;
      auto buffer = Buffer::allocate(device_, bytes, MemoryUse::device);
      for (const size_t at : members) {
        destinations_[at].buffer = buffer;
        set_->weights_[at].address = buffer->address() + destinations_[at].byteOffset;
      }
      set_->buffers_.push_back(std::move(buffer));
      set_->deviceBytes_ += bytes;
      members.clear();
      bytes = 0;
    };
    for (size_t i = 0; i < sources_.size(); i++) {
      if (isPlaced(i)) continue;
      // An empty weight has an address all the same.
      const uint64_t length =
          std::max(weightAlignment, align(static_cast<uint64_t>(set_->weights_[i].layout.byteLength)));
      if (bytes + length > limit) flush();
      destinations_[i].byteOffset = bytes;
      members.push_back(i);
      bytes += length;
    }
    flush();
  }

  void cut() {
    for (size_t i = 0; i < sources_.size(); i++) {
      if (!destinations_[i].buffer) continue;
      const WeightLayout& layout = set_->weights_[i].layout;
      const int64_t rowBytes = std::max<int64_t>(1, stagedBytes(layout, 1));
      slotBytes_ = std::max(slotBytes_, rowBytes);
      const int64_t step = std::max<int64_t>(1, taskBytes / rowBytes);
      for (int64_t row = 0; row < layout.rows; row += step) {
        tasks_.push_back({i, row, std::min(layout.rows, row + step)});
      }
    }
    // Rows side by side take no more than one by one: each plane's part is rounded up once instead of every time.
    slotBytes_ = std::max(slotBytes_, taskBytes);
  }

  void run() {
    const size_t wanted = std::min<size_t>({maximumWorkers, std::thread::hardware_concurrency(), tasks_.size()});
    std::vector<std::thread> helpers;
    try {
      while (helpers.size() + 1 < wanted) helpers.emplace_back([this] { work(false); });
    } catch (const std::system_error&) {
      // Fewer helpers, then.
    }
    work(true);
    for (std::thread& helper : helpers) helper.join();
    if (failure_) std::rethrow_exception(failure_);
  }

  bool stopped() const { return control_.abort->load() || control_.stop->load() || device_->isLost(); }

  void checkStopped() const {
    if (control_.abort->load()) throw Failure("usage/cancelled", "Loading was cancelled.");
    if (control_.stop->load()) throw Failure("device/closed", "The device was closed while it loaded weights.");
    if (device_->isLost()) throw device_->lostFailure();
  }

  // The staging that a worker copies from.
  struct Slot {
    std::shared_ptr<Buffer> staging;
    VkCommandBuffer commands = VK_NULL_HANDLE;
    uint64_t value = 0;  // of the timeline, when it may be overwritten
  };

  void work(bool reports) {
    std::optional<CommandPool> pool;
    std::array<Slot, slotCount> slots;
    try {
      size_t turn = 0;
      for (size_t at; !stopped() && (at = next_.fetch_add(1)) < tasks_.size();) {
        const Task& task = tasks_[at];
        const WeightLayout& layout = set_->weights_[task.weight].layout;
        const uint8_t* source = sources_[task.weight] + layout.sourceRowBytes * task.rowBegin;
        const auto sourceBytes = static_cast<size_t>(layout.sourceRowBytes * (task.rowEnd - task.rowBegin));
        const WeightRequest& request = requests_.entries[task.weight];
        const size_t fileOffset =
            static_cast<size_t>(request.offset) + static_cast<size_t>(layout.sourceRowBytes * task.rowBegin);
        const MappedFile* file = request.path >= 0 ? files_[static_cast<size_t>(request.path)].get() : nullptr;
        if (file != nullptr) file->prefetch(fileOffset, sourceBytes);
        if (destinations_[task.weight].buffer->mapped() != nullptr) {
          inPlace(task, layout, source);
        } else {
          if (!pool) pool.emplace(device_);
          staged(task, layout, source, *pool, slots[turn++ % slotCount]);
        }
        if (file != nullptr) file->forget(fileOffset, sourceBytes);
        const uint64_t bytes = done_.fetch_add(sourceBytes) + sourceBytes;
        // One worker reports, so that reports ascend; a task's size bounds their number.
        if (reports) control_.progressed(bytes);
      }
    } catch (...) {
      std::lock_guard<std::mutex> lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
      next_.store(tasks_.size());
    }
    // Staging and commands outlive their use.
    for (const Slot& slot : slots) {
      if (slot.value != 0) timeline_->await(slot.value);
    }
  }

  void inPlace(const Task& task, const WeightLayout& layout, const uint8_t* source) {
    const Destination& destination = destinations_[task.weight];
    uint8_t* targets[maximumPlanes] = {};
    for (int i = 0; i < layout.planeCount; i++) {
      targets[i] = destination.buffer->mapped() + destination.byteOffset + layout.planes[i].byteOffset +
                   task.rowBegin * layout.planes[i].rowBytes;
    }
    layOutRows(layout, source, task.rowBegin, task.rowEnd, targets);
  }

  void staged(const Task& task, const WeightLayout& layout, const uint8_t* source, CommandPool& pool, Slot& slot) {
    if (!slot.staging) slot.staging = Buffer::allocate(device_, static_cast<uint64_t>(slotBytes_), MemoryUse::host);
    if (slot.value != 0 && !timeline()->await(slot.value)) throw device_->lostFailure();
    PlaneCopy copies[maximumPlanes];
    const int count = layOutStaged(layout, source, task.rowBegin, task.rowEnd, slot.staging->mapped(), copies);
    if (slot.commands == VK_NULL_HANDLE) {
      slot.commands = pool.begin();
    } else {
      pool.beginAgain(slot.commands);
    }
    const Destination& destination = destinations_[task.weight];
    std::vector<VkBufferCopy> regions;
    for (int i = 0; i < count; i++) {
      if (copies[i].byteLength == 0) continue;
      regions.push_back(
          {slot.staging->vkOffset() + static_cast<uint64_t>(copies[i].stagingOffset),
           destination.buffer->vkOffset() + destination.byteOffset + static_cast<uint64_t>(copies[i].deviceOffset),
           static_cast<uint64_t>(copies[i].byteLength)});
    }
    if (!regions.empty()) {
      device_->vk().CmdCopyBuffer(slot.commands, slot.staging->vkBuffer(), destination.buffer->vkBuffer(),
                                  static_cast<uint32_t>(regions.size()), regions.data());
    }
    pool.end(slot.commands);
    slot.value = submit(slot.commands);
  }

  const std::shared_ptr<Timeline>& timeline() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!timeline_) timeline_ = std::make_shared<Timeline>(device_);
    return timeline_;
  }

  // Values of the timeline ascend in the order of submission, so both happen under one lock.
  uint64_t submit(VkCommandBuffer commands) {
    const VkSemaphore signal = timeline()->handle();
    std::lock_guard<std::mutex> lock(mutex_);
    const uint64_t value = submitted_ + 1;
    VkTimelineSemaphoreSubmitInfo values{};
    values.sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO;
    values.signalSemaphoreValueCount = 1;
    values.pSignalSemaphoreValues = &value;
    VkSubmitInfo info{};
    info.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO;
    info.pNext = &values;
    info.commandBufferCount = 1;
    info.pCommandBuffers = &commands;
    info.signalSemaphoreCount = 1;
    info.pSignalSemaphores = &signal;
    device_->submit(info, true);
    return submitted_ = value;
  }

  std::shared_ptr<Device> device_;
  WeightRequests requests_;
  const LoadControl& control_;
  std::shared_ptr<WeightSet> set_;
  std::vector<std::shared_ptr<MappedFile>> files_;
  std::vector<const uint8_t*> sources_;
  std::vector<Destination> destinations_;
  std::vector<Task> tasks_;
  int64_t slotBytes_ = 0;
  std::atomic<size_t> next_{0};
  std::atomic<uint64_t> done_{0};
  std::mutex mutex_;
  std::exception_ptr failure_;
  std::shared_ptr<Timeline> timeline_;
  uint64_t submitted_ = 0;
};

std::shared_ptr<WeightSet> WeightSet::load(std::shared_ptr<Device> device, WeightRequests requests,
                                           const LoadControl& control) {
  return WeightLoader(std::move(device), std::move(requests), control).load();
}

WeightLayout WeightSet::gatheredLayout(size_t index, int64_t count) const {
  const WeightLayout& whole = weights_[index].layout;
  WeightLayout layout{};
  require(weightLayout(whole.dtype, count, whole.columns, &layout), "some rows of a weight have a layout as it has");
  return layout;
}

void WeightSet::gather(size_t index, const std::vector<int64_t>& rows, uint8_t* target) {
  const Weight& weight = weights_[index];
  const int64_t rowBytes = weight.layout.sourceRowBytes;
  const auto count = static_cast<int64_t>(rows.size());
  const WeightLayout layout = gatheredLayout(index, count);
  if (weight.file && count > 1) {
    // Rows that lie on the disk are read side by side.
    for (const int64_t row : rows) {
      weight.file->prefetch(static_cast<size_t>(weight.fileOffset) + static_cast<size_t>(row * rowBytes),
                            static_cast<size_t>(rowBytes));
    }
  }
  for (int64_t i = 0; i < count; i++) {
    uint8_t* targets[maximumPlanes] = {};
    for (int plane = 0; plane < layout.planeCount; plane++) {
      targets[plane] = target + layout.planes[plane].byteOffset + i * layout.planes[plane].rowBytes;
    }
    layOutRows(layout, weight.source + rows[static_cast<size_t>(i)] * rowBytes, i, i + 1, targets);
  }
  if (weight.file) weight.file->expectIntact();
  gatheredBytes_.fetch_add(static_cast<uint64_t>(count * rowBytes));
}

}  // namespace unicorn
