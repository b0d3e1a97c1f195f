// A device with its queue and its way back to JavaScript. Used by the JavaScript thread only.
#pragma once

#include <napi.h>

#include <memory>
#include <string>

#include <unicorn/job-channel.h>

#include "queue.h"

namespace unicorn {

class DeviceHost {
 public:
  // `listener`: that of a JobChannel. Throws Failure.
  DeviceHost(Napi::Env env, std::shared_ptr<Device> device, Napi::Function listener);

  // Waits for what runs; idempotent. Objects that were made on the device stay until they are released.
  void close() { jobs_.close(); }

  JobChannel& jobs() { return jobs_; }
  // Both throw Failure device/closed.
  const std::shared_ptr<Device>& device() const;
  Queue& queue();

  // When the job has ended well, JavaScript's array gets the bytes of the staging.
  void deliverTo(uint32_t job, Napi::TypedArray into, std::shared_ptr<Buffer> staging);

 private:
  const std::string id_;
  std::shared_ptr<Device> device_;
  std::unique_ptr<Queue> queue_;
  JobChannel jobs_;  // the last member, since it closes the queue before anything is gone
};

}  // namespace unicorn
