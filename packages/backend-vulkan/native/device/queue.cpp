#include "queue.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <system_error>

namespace unicorn {
namespace {

// Alignment of the parts of staging: a whole vector for whatever fills or copies it.
constexpr uint64_t stagingAlignment = 64;

void barrier(const DeviceFunctions& vk, VkCommandBuffer commands, VkPipelineStageFlags from, VkAccessFlags written,
             VkPipelineStageFlags to, VkAccessFlags accessed) {
  VkMemoryBarrier memory{};
  memory.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER;
  memory.srcAccessMask = written;
  memory.dstAccessMask = accessed;
  vk.CmdPipelineBarrier(commands, from, to, 0, 1, &memory, 0, nullptr, 0, nullptr);
}

// Milliseconds of the clock that `performance.now` of JavaScript counts by, from another beginning.
double nowMs() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

Queue::Queue(std::shared_ptr<Device> device, JobListener listener)
    : device_(std::move(device)), listener_(std::move(listener)), timeline_(device_), transfers_(device_) {
  try {
    waiter_ = std::thread([this] { watch(); });
  } catch (const std::system_error&) {
    throw Failure("resource/threads", "The system refused to start the thread that waits for the device.");
  }
}

Queue::~Queue() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    closing_ = true;
  }
  condition_.notify_all();
  waiter_.join();
}

bool Queue::isIdle(const Buffer& buffer) {
  const uint64_t last = buffer.lastUse.load();
  if (last <= completed_.load()) return true;
  if (device_->isLost()) return false;
  try {
    return last <= timeline_.value();
  } catch (const Failure&) {
    return false;
  }
}

void Queue::waitFor(std::shared_ptr<Timeline> timeline, uint64_t value) {
  std::lock_guard<std::mutex> lock(mutex_);
  awaited_.emplace_back(std::move(timeline), value);
}

VkCommandBuffer Queue::beginTransfer() {
  VkCommandBuffer commands = VK_NULL_HANDLE;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!idleTransfers_.empty()) {
      commands = idleTransfers_.back();
      idleTransfers_.pop_back();
    }
  }
  if (commands == VK_NULL_HANDLE) {
    commands = transfers_.begin();
  } else {
    transfers_.beginAgain(commands);
  }
  // After all that was submitted before: what it wrote is read, what it reads is overwritten.
  barrier(device_->vk(), commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
          VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT, VK_PIPELINE_STAGE_TRANSFER_BIT,
          VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT);
  return commands;
}

void Queue::endTransfer(VkCommandBuffer commands) {
  barrier(device_->vk(), commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
          VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
  transfers_.end(commands);
}

void Queue::submit(uint32_t job, Work work) {
  Entry entry;
  entry.job = job;
  entry.isTimed = work.recording != nullptr;
  std::vector<VkCommandBuffer> commands;
  uint64_t stagedBytes = 0;
  std::vector<const HostWrite*> staged;
  for (const HostWrite& write : work.writes) {
    if (write.byteLength == 0) continue;
    if (write.target->mapped() != nullptr && isIdle(*write.target)) {
      write.fill(write.target->mapped() + write.byteOffset);
      write.target->sync(false, {{write.byteOffset, write.byteLength}});
      continue;
    }
    staged.push_back(&write);
    stagedBytes += (write.byteLength + stagingAlignment - 1) / stagingAlignment * stagingAlignment;
  }
  std::vector<std::shared_ptr<Buffer>> used = std::move(work.buffers);
  if (!staged.empty() && !device_->isLost()) {
    auto staging = Buffer::allocate(device_, stagedBytes, MemoryUse::host);
    std::vector<VkBufferCopy> regions;
    uint64_t at = 0;
    for (const HostWrite* write : staged) {
      write->fill(staging->mapped() + at);
      regions.push_back({staging->vkOffset() + at, write->target->vkOffset() + write->byteOffset, write->byteLength});
      at += (write->byteLength + stagingAlignment - 1) / stagingAlignment * stagingAlignment;
    }
    entry.transfer = beginTransfer();
    for (size_t i = 0; i < staged.size(); i++) {
      device_->vk().CmdCopyBuffer(entry.transfer, staging->vkBuffer(), staged[i]->target->vkBuffer(), 1, &regions[i]);
    }
    endTransfer(entry.transfer);
    commands.push_back(entry.transfer);
    used.push_back(std::move(staging));
  }
  for (HostWrite& write : work.writes) used.push_back(std::move(write.target));
  entry.holds = std::move(work.holds);
  entry.files = std::move(work.files);
  if (work.recording) {
    commands.push_back(work.recording->commands());
    work.recording->noteSubmitted();
    entry.holds.push_back(std::move(work.recording));
  }
  enqueue(std::move(entry), commands, used);
}

void Queue::copy(uint32_t job, std::shared_ptr<Buffer> source, uint64_t sourceOffset, std::shared_ptr<Buffer> target,
                 uint64_t targetOffset, uint64_t byteLength) {
  Entry entry;
  entry.job = job;
  entry.isTimed = true;
  if (device_->isLost() || byteLength == 0) {
    enqueue(std::move(entry), {}, {});
    return;
  }
  entry.transfer = beginTransfer();
  const VkBufferCopy region{source->vkOffset() + sourceOffset, target->vkOffset() + targetOffset, byteLength};
  device_->vk().CmdCopyBuffer(entry.transfer, source->vkBuffer(), target->vkBuffer(), 1, &region);
  endTransfer(entry.transfer);
  const VkCommandBuffer commands = entry.transfer;
  enqueue(std::move(entry), {commands}, {std::move(source), std::move(target)});
}

std::pair<double, double> Queue::times(uint32_t job) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = times_.find(job);
  if (found == times_.end()) return {0, 0};
  const std::pair<double, double> result = found->second;
  times_.erase(found);
  return result;
}

std::shared_ptr<Buffer> Queue::read(uint32_t job, std::shared_ptr<Buffer> source, uint64_t byteOffset,
                                    uint64_t byteLength) {
  Entry entry;
  entry.job = job;
  if (device_->isLost() || byteLength == 0) {
    enqueue(std::move(entry), {}, {});
    return nullptr;
  }
  auto staging = Buffer::allocate(device_, byteLength, MemoryUse::host);
  entry.transfer = beginTransfer();
  const VkBufferCopy region{source->vkOffset() + byteOffset, staging->vkOffset(), byteLength};
  device_->vk().CmdCopyBuffer(entry.transfer, source->vkBuffer(), staging->vkBuffer(), 1, &region);
  endTransfer(entry.transfer);
  const VkCommandBuffer commands = entry.transfer;
  enqueue(std::move(entry), {commands}, {std::move(source), staging});
  return staging;
}

void Queue::pass(uint32_t job) {
  Entry entry;
  entry.job = job;
  enqueue(std::move(entry), {}, {});
}

void Queue::clear(const std::shared_ptr<Buffer>& buffer, bool immediately) {
  if (immediately && buffer->mapped() != nullptr) {
    std::memset(buffer->mapped(), 0, buffer->byteLength());
    buffer->sync(false, {{0, buffer->byteLength()}});
    return;
  }
  if (buffer->byteLength() == 0) return;
  if (device_->isLost()) throw device_->lostFailure();
  Entry entry;
  entry.transfer = beginTransfer();
  // A buffer's range is a multiple of 256 bytes long, so rounding up stays inside.
  device_->vk().CmdFillBuffer(entry.transfer, buffer->vkBuffer(), buffer->vkOffset(),
                              (buffer->byteLength() + 3) / 4 * 4, 0);
  endTransfer(entry.transfer);
  const VkCommandBuffer commands = entry.transfer;
  enqueue(std::move(entry), {commands}, {buffer});
}

// Submits the commands, if any, and lets the waiter know. A failure is the entry's.
void Queue::enqueue(Entry entry, const std::vector<VkCommandBuffer>& commands,
                    const std::vector<std::shared_ptr<Buffer>>& used) {
  std::vector<VkSemaphore> awaitedHandles;
  std::vector<uint64_t> awaitedValues;
  if (!commands.empty()) {
    std::lock_guard<std::mutex> lock(mutex_);
    for (auto& [timeline, value] : awaited_) {
      awaitedHandles.push_back(timeline->handle());
      awaitedValues.push_back(value);
      entry.holds.push_back(std::move(timeline));
    }
    awaited_.clear();
  }
  try {
    if (device_->isLost()) throw device_->lostFailure();
    if (!commands.empty()) {
      const uint64_t value = submitted_ + 1;
      const std::vector<VkPipelineStageFlags> stages(
          awaitedHandles.size(), VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT);
      const VkSemaphore signal = timeline_.handle();
      VkTimelineSemaphoreSubmitInfo timeline{};
      timeline.sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO;
      timeline.waitSemaphoreValueCount = static_cast<uint32_t>(awaitedValues.size());
      timeline.pWaitSemaphoreValues = awaitedValues.data();
      timeline.signalSemaphoreValueCount = 1;
      timeline.pSignalSemaphoreValues = &value;
      VkSubmitInfo info{};
      info.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO;
      info.pNext = &timeline;
      info.waitSemaphoreCount = static_cast<uint32_t>(awaitedHandles.size());
      info.pWaitSemaphores = awaitedHandles.data();
      info.pWaitDstStageMask = stages.data();
      info.commandBufferCount = static_cast<uint32_t>(commands.size());
      info.pCommandBuffers = commands.data();
      info.signalSemaphoreCount = 1;
      info.pSignalSemaphores = &signal;
      device_->submit(info, false);
      submitted_ = value;
      for (const auto& buffer : used) buffer->lastUse.store(value);
    }
  } catch (const Failure& failure) {
    entry.failure = failure;
  }
  entry.value = submitted_;
  entry.submittedMs = nowMs();
  for (const auto& buffer : used) entry.holds.push_back(buffer);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    entries_.push_back(std::move(entry));
  }
  condition_.notify_one();
}

void Queue::watch() {
  for (;;) {
    uint64_t value;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      condition_.wait(lock, [&] { return closing_ || !entries_.empty(); });
      if (entries_.empty()) return;
      value = entries_.front().value;
    }
    const bool reached = value <= completed_.load() || timeline_.await(value, true);
    if (reached) completed_.store(std::max(completed_.load(), value));
    for (;;) {
      Entry entry;
      {
        std::lock_guard<std::mutex> lock(mutex_);
        if (entries_.empty() || (reached && entries_.front().value > completed_.load())) break;
        entry = std::move(entries_.front());
        entries_.pop_front();
      }
      settle(entry, reached);
    }
  }
}

void Queue::settle(Entry& entry, bool reached) {
  if (!reached && !entry.failure) entry.failure = device_->lostFailure();
  // Drivers answer a page that they cannot read as they like: the file says better what was wrong.
  try {
    for (const auto& file : entry.files) file->expectIntact();
  } catch (const Failure& failure) {
    entry.failure = failure;
  }
  if (entry.transfer != VK_NULL_HANDLE) {
    std::lock_guard<std::mutex> lock(mutex_);
    idleTransfers_.push_back(entry.transfer);
  }
  const double endMs = nowMs();
  if (entry.isTimed) {
    std::lock_guard<std::mutex> lock(mutex_);
    // Times that no caller asks for are not kept for ever.
    if (times_.size() >= 1024) times_.clear();
    times_[entry.job] = {std::max(entry.submittedMs, lastEndMs_), endMs};
  }
  lastEndMs_ = endMs;
  // What the job held is let go before its end is told.
  entry.holds.clear();
  entry.files.clear();
  if (entry.job != 0) listener_.ended(entry.job, entry.failure ? &*entry.failure : nullptr);
}

}  // namespace unicorn
