#include "device-host.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <unicorn/border.h>

namespace unicorn {

DeviceHost::DeviceHost(Napi::Env env, std::shared_ptr<Device> device, Napi::Function listener)
    : id_(device->id()), device_(std::move(device)), jobs_(env, listener, [this] {
        queue_.reset();  // waits, and joins its thread
        device_.reset();
      }) {
  queue_ = std::make_unique<Queue>(device_, jobs_.listener());
}

const std::shared_ptr<Device>& DeviceHost::device() const {
  if (!device_) throw Failure("device/closed", "The device was closed before.", {}, {{"device", id_}});
  return device_;
}

Queue& DeviceHost::queue() {
  device();
  return *queue_;
}

void DeviceHost::deliverTo(uint32_t job, Napi::TypedArray into, std::shared_ptr<Buffer> staging) {
  const auto reference = std::make_shared<Napi::ObjectReference>(Napi::Persistent(into.As<Napi::Object>()));
  jobs_.whenEnded(job, [reference, staging = std::move(staging)](bool succeeded) {
    // Shorter when JavaScript gave its memory away in the meantime.
    const Bytes bytes = bytesOf(reference->Value());
    if (succeeded && bytes.byteLength > 0) {
      std::memcpy(bytes.data, staging->mapped(), std::min<size_t>(bytes.byteLength, staging->byteLength()));
    }
  });
}

}  // namespace unicorn
