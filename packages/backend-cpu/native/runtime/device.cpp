#include "device.h"

#include <cstring>
#include <system_error>

namespace unicorn {
namespace {

// Turns for which an idle dispatcher watches the queue before it parks (about 50 us): a caller that submits the next step
// when the last one ends is back by then, and waking a parked thread costs both sides tens of microseconds.
constexpr int idleSpins = 2000;

// Bytes from which the pool shares a copy: one thread moves them in about 50 us, and waking the others takes tens.
constexpr size_t sharedCopyBytes = 512 << 10;

bool overlap(const JobBinding& a, const JobBinding& b) {
  return a.data < b.data + b.byteLength && b.data < a.data + a.byteLength;
}

}  // namespace

Device::Device(int threads, Level level, JobListener listener)
    : threads_(threads),
      kernels_(selectKernels(level)),
      listener_(std::move(listener)),
      pool_(threads),
      team_(threads) {
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
      if (const auto* load = std::get_if<LoadJob>(&entry.work)) load->abort->store(true);
    }
    if (loading_) loading_->store(true);
  }
  condition_.notify_all();
  dispatcher_.join();
}

std::shared_ptr<JobState> Device::submit(uint32_t id, ProgramJob job, After after) {
  return enqueue(id, std::move(job), std::move(after));
}

std::shared_ptr<JobState> Device::copy(uint32_t id, CopyJob job, After after) {
  return enqueue(id, std::move(job), std::move(after));
}

std::shared_ptr<JobState> Device::load(uint32_t id, LoadJob job) { return enqueue(id, std::move(job), {}); }

template <typename Job>
std::shared_ptr<JobState> Device::enqueue(uint32_t id, Job job, After after) {
  auto state = std::make_shared<JobState>();
  {
    std::lock_guard<std::mutex> lock(mutex_);
    require(!closing_, "a closed device takes no jobs");
    queue_.push_back({id, state, std::move(job), std::move(after)});
    awake_.store(true, std::memory_order_release);
  }
  condition_.notify_one();
  return state;
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
      const auto* load = std::get_if<LoadJob>(&entry->work);
      loading_ = load != nullptr ? load->abort : nullptr;
    }
    if (closing) {
      entry->state->failure =
          Failure("device/closed", "The device was closed before this submission began.", {}, {{"device", "cpu"}});
    } else {
      perform(*entry);
    }
    // Buffers and the program that the job held are released before its end is told.
    entry->work = std::monostate();
    entry->after.clear();
    listener_.ended(entry->id, entry->state->failure ? &*entry->state->failure : nullptr);
  }
}

void Device::perform(Entry& entry) {
  JobState& state = *entry.state;
  for (const auto& earlier : entry.after) {
    if (!earlier->failure) continue;
    state.failure = earlier->failure;
    return;
  }
  state.beginMs = steadyMs();
  try {
    if (auto* program = std::get_if<ProgramJob>(&entry.work)) {
      run(*program);
    } else if (auto* copy = std::get_if<CopyJob>(&entry.work)) {
      run(*copy);
    } else {
      run(entry.id, std::get<LoadJob>(entry.work));
    }
  } catch (const Failure& failure) {
    state.failure = failure;
  } catch (const std::bad_alloc&) {
    state.failure = Failure("resource/memory", "Memory for the submission could not be had.");
  } catch (const std::exception& error) {
    state.failure = Failure("internal/native", error.what());
  }
  state.endMs = steadyMs();
}

void Device::run(uint32_t id, LoadJob& job) {
  *job.result = WeightSet::load(job.requests, kernels_, pool_,
                                {job.abort.get(), [this, id](uint64_t bytes) { listener_.progressed(id, bytes); }});
}

void Device::run(CopyJob& job) {
  const size_t byteLength = job.to.byteLength;
  if (byteLength == 0) return;
  // Two buffers may be views of one memory, so ranges may overlap even where TypeScript saw none that do.
  if (byteLength < sharedCopyBytes || overlap(job.from, job.to)) {
    std::memmove(job.to.data, job.from.data, byteLength);
    return;
  }
  const auto members = static_cast<size_t>(threads_);
  pool_.run(threads_, [&](int member) {
    const size_t begin = byteLength * static_cast<size_t>(member) / members / 64 * 64;
    const size_t end =
        member + 1 == threads_ ? byteLength : byteLength * static_cast<size_t>(member + 1) / members / 64 * 64;
    std::memcpy(job.to.data + begin, job.from.data + begin, end - begin);
  });
}

void Device::run(ProgramJob& job) {
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
  const double beginMs = steadyMs();
  const double lostMs = Run(program, pool_, team_.members(), workspace_, job.symbols, bindings, stop_).execute();
  const double endMs = steadyMs();
  team_.ran(endMs - beginMs, lostMs, endMs);
  program.expectIntact();
}

}  // namespace unicorn
