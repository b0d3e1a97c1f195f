#include "device-host.h"

#include <algorithm>
#include <cstring>

#include "border.h"

namespace unicorn {
std::shared_ptr<DeviceHost> DeviceHost::open(Napi::Env env, std::shared_ptr<Device> device, Napi::Function listener) {
  auto host = std::shared_ptr<DeviceHost>(new DeviceHost(env));
  host->device_ = std::move(device);
  // The channel delivers what is under way even after the device was closed, so it holds the host as well.
  host->channel_ = Channel::New(
      env, listener, "unicorn device", 0, 1, host.get(),
      [](Napi::Env, std::shared_ptr<DeviceHost>* held, DeviceHost*) { delete held; },
      new std::shared_ptr<DeviceHost>(host));
  host->channel_.Unref(env);
  try {
    host->queue_ = std::make_unique<Queue>(host->device_, host->listener());
    host->background_ = std::make_unique<Background>();
  } catch (...) {
    host->channel_.Release();
    throw;
  }
  host->open_ = true;
  napi_add_env_cleanup_hook(env, closeHook, host.get());
  return host;
}

void DeviceHost::close() {
  if (!open_) return;
  open_ = false;
  napi_remove_env_cleanup_hook(env_, closeHook, this);
  background_.reset();
  queue_.reset();  // joins: nothing is sent afterwards
  device_.reset();
  channel_.Release();
}

const std::shared_ptr<Device>& DeviceHost::device() const {
  if (!open_) throw Failure("device/closed", "The device was closed before.");
  return device_;
}

Queue& DeviceHost::queue() {
  device();
  return *queue_;
}

Background& DeviceHost::background() {
  device();
  return *background_;
}

void DeviceHost::acknowledge(uint32_t job) {
  readings_.erase(job);
  if (pending_.erase(job) != 0 && pending_.empty() && open_) channel_.Unref(env_);
}

void DeviceHost::deliverTo(uint32_t job, Napi::TypedArray into, std::shared_ptr<Buffer> staging) {
  readings_.emplace(job, Reading{Napi::Persistent(into.As<Napi::Object>()), std::move(staging)});
}

JobListener DeviceHost::listener() const {
  const auto send = [channel = channel_](Message message) {
    auto owned = std::make_unique<Message>(std::move(message));
    if (channel.NonBlockingCall(owned.get()) == napi_ok) owned.release();
  };
  return {[send](uint32_t job, const Failure* failure) {
            send({job, true, 0, failure == nullptr ? std::string() : toJson(*failure)});
          },
          [send](uint32_t job, uint64_t bytes) { send({job, false, bytes, {}}); }};
}

void DeviceHost::deliver(Napi::Env env, Napi::Function callback, DeviceHost* host, Message* message) {
  const std::unique_ptr<Message> owned(message);
  if (static_cast<napi_env>(env) == nullptr) return;  // the environment is being torn down
  try {
    const Napi::HandleScope scope(env);
    if (const auto found = host->readings_.find(message->job); message->ended && found != host->readings_.end()) {
      const Reading reading = std::move(found->second);
      host->readings_.erase(found);
      // Shorter when JavaScript gave its memory away in the meantime.
      const Bytes into = bytesOf(reading.into.Value());
      if (message->failure.empty() && into.byteLength > 0) {
        std::memcpy(into.data, reading.staging->mapped(),
                    std::min<size_t>(into.byteLength, reading.staging->byteLength()));
      }
    }
    callback.Call({Napi::Number::New(env, message->job), Napi::Boolean::New(env, message->ended),
                   Napi::Number::New(env, static_cast<double>(message->loadedBytes)),
                   message->failure.empty() ? env.Undefined() : Napi::String::New(env, message->failure)});
  } catch (const Napi::Error& error) {
    // Nothing can be called any more while a worker is being ended; otherwise the listener threw, which is a bug to show.
    if (!error.IsEmpty()) napi_fatal_exception(env, error.Value());
  }
}

}  // namespace unicorn
