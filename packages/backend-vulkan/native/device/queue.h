// Runs submissions in order, with a thread that waits for them. Every submission advances one timeline; objects that it uses
// are held until its value is reached, and then its end is told. Only one thread (JavaScript's) may submit.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include <unicorn/job-listener.h>
#include <unicorn/mapped-file.h>

#include "../recording/recording.h"

namespace unicorn {

// Data of the host for a buffer. `fill` writes it, to the buffer at once, or to staging that is copied in order.
struct HostWrite {
  std::shared_ptr<Buffer> target;
  uint64_t byteOffset, byteLength;
  std::function<void(uint8_t*)> fill;
};

struct Work {
  std::vector<HostWrite> writes;
  std::shared_ptr<Recording> recording;          // or null
  std::vector<std::shared_ptr<Buffer>> buffers;  // that the recording uses
  std::vector<std::shared_ptr<void>> holds;      // anything else
  // That the recording reads where they are mapped. When one of them is not what it was, the work has failed.
  std::vector<std::shared_ptr<const MappedFile>> files;
};

class Queue {
 public:
  // The listener is told from the queue's thread.
  Queue(std::shared_ptr<Device> device, JobListener listener);
  ~Queue();  // waits for what was submitted
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  // Throws what `fill` throws, and when staging cannot be had; all other failures are told as the job's.
  void submit(uint32_t job, Work work);
  // Copies a range of one buffer to another in queue order.
  void copy(uint32_t job, std::shared_ptr<Buffer> source, uint64_t sourceOffset, std::shared_ptr<Buffer> target,
            uint64_t targetOffset, uint64_t byteLength);
  // Copies a range of a buffer to staging in queue order; the caller reads that when the job has ended.
  std::shared_ptr<Buffer> read(uint32_t job, std::shared_ptr<Buffer> source, uint64_t byteOffset, uint64_t byteLength);
  // A job that ends in its turn.
  void pass(uint32_t job);
  // Zeroes a buffer that nothing uses yet; from `immediately` on the host's side, before this returns.
  void clear(const std::shared_ptr<Buffer>& buffer, bool immediately);
  // When the device worked on a job of `submit` or `copy` that has ended: from when it was submitted, or the one before it
  // ended, until its end was noticed. Milliseconds of the system's monotonic clock, told once; {0, 0} for any other job.
  std::pair<double, double> times(uint32_t job);
  // True when no submission uses the buffer any more.
  bool isIdle(const Buffer& buffer);
  // Lets the next submission begin after that value, so that it sees what another queue wrote. From any thread.
  void waitFor(std::shared_ptr<Timeline> timeline, uint64_t value);

 private:
  struct Entry {
    uint32_t job = 0;  // 0: nobody is told
    uint64_t value = 0;
    std::vector<std::shared_ptr<void>> holds;
    std::vector<std::shared_ptr<const MappedFile>> files;
    VkCommandBuffer transfer = VK_NULL_HANDLE;
    std::optional<Failure> failure;
    bool isTimed = false;
    double submittedMs = 0;
  };

  VkCommandBuffer beginTransfer();
  void endTransfer(VkCommandBuffer commands);
  void enqueue(Entry entry, const std::vector<VkCommandBuffer>& commands,
               const std::vector<std::shared_ptr<Buffer>>& used);
  void watch();
  void settle(Entry& entry, bool reached);

  const std::shared_ptr<Device> device_;
  const JobListener listener_;
  Timeline timeline_;
  CommandPool transfers_;
  uint64_t submitted_ = 0;
  std::atomic<uint64_t> completed_{0};

  std::mutex mutex_;
  std::condition_variable condition_;
  std::deque<Entry> entries_;
  std::vector<VkCommandBuffer> idleTransfers_;
  std::vector<std::pair<std::shared_ptr<Timeline>, uint64_t>> awaited_;
  bool closing_ = false;
  double lastEndMs_ = 0;                                           // of the waiter's
  std::unordered_map<uint32_t, std::pair<double, double>> times_;  // of timed jobs that have ended
  std::thread waiter_;
};

}  // namespace unicorn
