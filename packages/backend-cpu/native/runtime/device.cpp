#include "device.h"

#include <system_error>

namespace unicorn {
namespace {

// Turns for which an idle dispatcher watches the queue before it parks (about 50 us): a caller that submits the next step
// when the last one ends is back by then, and waking a parked thread costs both sides tens of microseconds.
constexpr int idleSpins = 2000;

bool overlap(const JobBinding& a, const JobBinding& b) {
  return a.data < b.data + b.byteLength && b.data < a.data + a.byteLength;
}

}  // namespace

Device::Device(int threads, Level level, JobListener listener)
    : threads_(threads), kernels_(selectKernels(level)), listener_(std::move(listener)), pool_(threads) {
  try {
    dispatcher_ = std::thread([this] { dispatch(); });
  } catch (const std::system_error&) {
    throw Failure("resource/threads", "The system refused to start the dispatcher thread.");
  }
}

Device::~Device() {
  stop_.store(true);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    closing_ = true;
    for (Entry& entry : queue_) {
      if (entry.load) entry.load->abort->store(true);
    }
    if (loading_) loading_->store(true);
  }
  condition_.notify_all();
  dispatcher_.join();
}

std::shared_ptr<JobState> Device::submit(uint32_t id, ProgramJob job) {
  auto state = std::make_shared<JobState>();
  enqueue({id, state, std::move(job), std::nullopt});
  return state;
}

std::shared_ptr<JobState> Device::load(uint32_t id, LoadJob job) {
  auto state = std::make_shared<JobState>();
  enqueue({id, state, std::nullopt, std::move(job)});
  return state;
}

void Device::enqueue(Entry entry) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    require(!closing_, "a closed device takes no jobs");
    queue_.push_back(std::move(entry));
    awake_.store(true, std::memory_order_release);
  }
  condition_.notify_one();
}

void Device::trim() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    trim_ = true;
  }
  condition_.notify_one();
}

void Device::dispatch() {
  for (;;) {
    for (int spin = 0; spin < idleSpins && !awake_.load(std::memory_order_acquire); spin++) relax();
    std::optional<Entry> entry;
    bool closing;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      condition_.wait(lock, [&] { return closing_ || trim_ || !queue_.empty(); });
      if (trim_ && queue_.empty()) workspace_ = {};
      trim_ = false;
      if (!closing_ && queue_.empty()) continue;
      closing = closing_;
      if (closing && queue_.empty()) return;
      entry.emplace(std::move(queue_.front()));
      queue_.pop_front();
      awake_.store(!queue_.empty(), std::memory_order_relaxed);
      loading_ = entry->load ? entry->load->abort : nullptr;
    }
    if (closing) {
      entry->state->failure = Failure("device/closed", "The device was closed before this submission began.");
    } else {
      perform(*entry);
    }
    // What the job held (buffers, the program) is let go before its end is told.
    entry->program.reset();
    entry->load.reset();
    listener_.ended(entry->id, entry->state->failure ? &*entry->state->failure : nullptr);
  }
}

void Device::perform(Entry& entry) {
  try {
    if (entry.load) {
      LoadJob& job = *entry.load;
      const uint32_t id = entry.id;
      *job.result = WeightSet::load(job.requests, kernels_, pool_,
                                    {job.abort.get(), [this, id](uint64_t bytes) { listener_.progressed(id, bytes); }});
      return;
    }
    if (entry.program->after && entry.program->after->failure) {
      entry.state->failure = entry.program->after->failure;
      return;
    }
    runProgram(*entry.program);
  } catch (const Failure& failure) {
    entry.state->failure = failure;
  } catch (const std::bad_alloc&) {
    entry.state->failure = Failure("resource/memory", "Memory for the submission could not be had.");
  } catch (const std::exception& error) {
    entry.state->failure = Failure("internal/native", error.what());
  }
}

void Device::runProgram(ProgramJob& job) {
  const Program& program = *job.program;
  workspace_.reserve(program);
  // Outputs are written as soon as they are known, so an input that shares memory with one is read from a copy.
  for (JobBinding& input : job.bindings) {
    if (input.written || !input.copy.empty()) continue;
    for (const JobBinding& other : job.bindings) {
      if (!other.written || !overlap(input, other)) continue;
      input.copy.assign(input.data, input.data + input.byteLength);
      input.data = input.copy.data();
      break;
    }
  }
  std::vector<uint8_t*> bindings;
  bindings.reserve(job.bindings.size());
  for (const JobBinding& binding : job.bindings) bindings.push_back(binding.data);
  Run(program, pool_, workspace_, job.symbols, bindings, stop_).execute();
}

}  // namespace unicorn
