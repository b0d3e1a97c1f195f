// The jobs of a device and their way back to JavaScript. A job is what a call begins and does not wait for: the call
// returns its number, and later a listener in JavaScript is told how it ended (`JobTable` of @unicorn-exec/native makes a
// promise of that). The device itself needs to know nothing of JavaScript: it gets a `JobListener`.
//
// All but `listener()` is for the JavaScript thread.
#pragma once

#include <napi.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "background.h"
#include "job-listener.h"

namespace unicorn {

// When a device worked on a job, in milliseconds of its own clock; both are 0 when it did not, or does not tell.
struct JobTime {
  double beginMs = 0;
  double endMs = 0;
};

// What a task in the background sees of its job.
struct BackgroundJob {
  const std::atomic<bool>& stop;  // true when the channel is being closed: the task should end soon
  std::function<void(uint64_t loadedBytes)> progressed;
};

class JobChannel {
 public:
  // `listener`: (job, ended, loadedBytes, failure?, beginMs?, endMs?) => void, with the failure as JSON, and the times of
  // `whenAnyEnded`. `stop` is called once, when the channel is closed: afterwards nobody may tell of a job any more, so it
  // stops and joins the device's threads. A channel closes when it is destroyed, and when its environment (the process, a
  // worker thread) ends with it open.
  JobChannel(Napi::Env env, Napi::Function listener, std::function<void()> stop);
  ~JobChannel() { close(); }
  JobChannel(const JobChannel&) = delete;
  JobChannel& operator=(const JobChannel&) = delete;

  // Stops tasks in the background and the device. Idempotent. What was told before is still delivered.
  void close();
  bool isOpen() const { return open_; }

  // The listener to hand to the device, which may call it from any thread until `stop` has returned.
  JobListener listener() const;

  // Begins a job: `start(job)` causes it to end one day; when that throws, there is no job. While jobs are pending the
  // process stays alive. Throws Failure device/closed.
  template <typename Start>
  uint32_t begin(const Start& start) {
    const uint32_t job = add();
    try {
      start(job);
    } catch (...) {
      acknowledge(job);
      throw;
    }
    return job;
  }

  // Begins a job that runs `task` on a thread of its own. What that throws is the job's failure. Throws Failure
  // device/closed, resource/threads.
  uint32_t beginInBackground(std::function<void(const BackgroundJob& job)> task);

  // Calls `ending` on the JavaScript thread when the job has ended, before the listener is told: to hand over what it
  // read, for example. Not called when the job was acknowledged before or the environment ends. It must not throw.
  void whenEnded(uint32_t job, std::function<void(bool succeeded)> ending);

  // Calls `ending` on the JavaScript thread for each job that has ended, before the listener is told, which is given the
  // times that it returns. Jobs may end so after the channel was closed. It must not throw.
  void whenAnyEnded(std::function<JobTime(uint32_t job)> ending) { endings_->ofAny = std::move(ending); }

  // Says that JavaScript need not be told of the job's end any more, as telling it does: with no job pending the process
  // may end. Idempotent.
  void acknowledge(uint32_t job);

 private:
  struct Message {
    uint32_t job;
    bool ended;
    uint64_t loadedBytes;
    std::string failure;  // JSON, or empty
  };
  struct Endings;

  static void deliver(Napi::Env env, Napi::Function callback, Endings* endings, Message* message);
  static void closeHook(void* channel) { static_cast<JobChannel*>(channel)->close(); }
  uint32_t add();

  using Function = Napi::TypedThreadSafeFunction<Endings, Message, deliver>;

  // What deliveries use. They go on after the channel was closed, so this outlives it.
  struct Endings {
    std::unordered_map<uint32_t, std::function<void(bool succeeded)>> byJob;
    std::function<JobTime(uint32_t job)> ofAny;
    std::unordered_set<uint32_t> pending;  // whose end JavaScript was not told of yet
    Function function;                     // while the channel is open

    void acknowledge(napi_env env, uint32_t job);
  };

  napi_env env_;
  bool open_ = true;
  Function function_;
  std::shared_ptr<Endings> endings_ = std::make_shared<Endings>();
  std::function<void()> stop_;
  std::unique_ptr<Background> background_;  // made when it is first wanted
  uint32_t nextJob_ = 1;
};

}  // namespace unicorn
