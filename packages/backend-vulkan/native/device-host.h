// A device with its threads and its way back to JavaScript. Used by the JavaScript thread only.
#pragma once

#include <napi.h>

#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "background.h"
#include "queue.h"

namespace unicorn {

// The channel to JavaScript is unreferenced while no job is pending, so that an idle device does not keep the process
// alive.
class DeviceHost {
 public:
  // `listener`: (job, ended, loadedBytes, failure?) => void. Throws Failure.
  static std::shared_ptr<DeviceHost> open(Napi::Env env, std::shared_ptr<Device> device, Napi::Function listener);
  ~DeviceHost() { close(); }
  DeviceHost(const DeviceHost&) = delete;
  DeviceHost& operator=(const DeviceHost&) = delete;

  // Waits for what runs; idempotent. What was made on the device stays until it is let go of.
  void close();

  // Throws Failure device/closed.
  const std::shared_ptr<Device>& device() const;
  Queue& queue();
  Background& background();

  // Begins a job, which `start(id)` then causes to end one day; without it when that throws.
  template <typename Start>
  uint32_t begin(const Start& start) {
    if (pending_.empty()) channel_.Ref(env_);
    const uint32_t job = nextJob_++;
    pending_.insert(job);
    try {
      start(job);
    } catch (...) {
      acknowledge(job);
      throw;
    }
    return job;
  }
  // JavaScript knows that the job has ended.
  void acknowledge(uint32_t job);
  // When the job has ended well, JavaScript's array gets the bytes.
  void deliverTo(uint32_t job, Napi::TypedArray into, std::shared_ptr<Buffer> staging);

  // From any thread.
  JobListener listener() const;

 private:
  // A message to the JavaScript thread.
  struct Message {
    uint32_t job;
    bool ended;
    uint64_t loadedBytes;
    std::string failure;  // JSON, or empty
  };
  struct Reading {
    Napi::ObjectReference into;
    std::shared_ptr<Buffer> staging;
  };

  static void deliver(Napi::Env env, Napi::Function callback, DeviceHost* host, Message* message);
  using Channel = Napi::TypedThreadSafeFunction<DeviceHost, Message, deliver>;

  explicit DeviceHost(napi_env env) : env_(env) {}
  // The environment's cleanup hook (a worker thread that exits with a device open): added after the channel was made, so
  // it runs before the channel's own.
  static void closeHook(void* host) { static_cast<DeviceHost*>(host)->close(); }

  napi_env env_;
  bool open_ = false;
  Channel channel_;
  std::shared_ptr<Device> device_;
  std::unique_ptr<Queue> queue_;
  std::unique_ptr<Background> background_;
  uint32_t nextJob_ = 1;
  std::unordered_set<uint32_t> pending_;  // whose end JavaScript did not acknowledge yet
  std::unordered_map<uint32_t, Reading> readings_;
};

}  // namespace unicorn
