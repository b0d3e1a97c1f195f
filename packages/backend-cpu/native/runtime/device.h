// A device: one pool of threads, one dispatcher that takes jobs in the order of their submission, and the memory that
// programs use in turn. It knows nothing of JavaScript; results go to a listener that the addon provides.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <variant>
#include <vector>

#include <unicorn/job-listener.h>

#include "program.h"
#include "team-size.h"

namespace unicorn {

// A binding of a submission: memory that lives as long as the job does.
struct JobBinding {
  uint8_t* data;
  size_t byteLength;
  bool written;                  // an output or a state
  std::shared_ptr<Pages> pages;  // holds `data`, or null when JavaScript does
  std::vector<uint8_t> copy;     // host data of an input; `data` points into it
};

// Outcome of a job that later ones may depend on. Written by the dispatcher before the next job begins.
struct JobState {
  std::optional<Failure> failure;
  // When the job was worked on; both are 0 when it failed before that.
  double beginMs = 0;
  double endMs = 0;
};

struct ProgramJob {
  std::shared_ptr<Program> program;
  std::vector<int64_t> symbols;
  std::vector<JobBinding> bindings;
};

// Moves bytes; both ranges are equally long.
struct CopyJob {
  JobBinding from, to;
};

struct LoadJob {
  WeightRequests requests;
  std::shared_ptr<std::atomic<bool>> abort;
  std::shared_ptr<std::shared_ptr<WeightSet>> result;
};

class Device {
 public:
  // The listener is told by the dispatcher, from its thread.
  Device(int threads, Level level, JobListener listener);
  ~Device();  // stops the running job at its next phase, fails all with device/closed, joins
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // `after`: jobs of this device; when one of them failed this one fails likewise.
  using After = std::vector<std::shared_ptr<JobState>>;
  std::shared_ptr<JobState> submit(uint32_t id, ProgramJob job, After after = {});
  std::shared_ptr<JobState> copy(uint32_t id, CopyJob job, After after = {});
  std::shared_ptr<JobState> load(uint32_t id, LoadJob job);

  const Kernels& kernels() const { return kernels_; }
  int threads() const { return threads_; }
  // Gives the memory that programs share back to the system when the queue is empty.
  void trim();

 private:
  struct Entry {
    uint32_t id;
    std::shared_ptr<JobState> state;
    std::variant<std::monostate, ProgramJob, CopyJob, LoadJob> work;
    After after;
  };

  template <typename Job>
  std::shared_ptr<JobState> enqueue(uint32_t id, Job job, After after);
  void dispatch();
  void perform(Entry& entry);
  void run(ProgramJob& job);
  void run(CopyJob& job);
  void run(uint32_t id, LoadJob& job);

  const int threads_;
  const Kernels& kernels_;
  JobListener listener_;
  ThreadPool pool_;
  TeamSize team_;
  Workspace workspace_;
  std::atomic<bool> stop_{false};

  std::mutex mutex_;
  std::condition_variable condition_;
  std::deque<Entry> queue_;
  std::atomic<bool> awake_{false};  // the queue is not empty
  bool closing_ = false;
  bool trim_ = false;
  std::shared_ptr<std::atomic<bool>> loading_;  // abort flag of the running load
  std::thread dispatcher_;
};

}  // namespace unicorn
