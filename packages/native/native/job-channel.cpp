#include "unicorn/job-channel.h"

#include <optional>
#include <utility>

namespace unicorn {

JobChannel::JobChannel(Napi::Env env, Napi::Function listener, std::function<void()> stop)
    : env_(env), stop_(std::move(stop)) {
  function_ = Function::New(
      env, listener, "unicorn jobs", 0, 1, endings_.get(),
      [](Napi::Env, std::shared_ptr<Endings>* held, Endings*) { delete held; }, new std::shared_ptr<Endings>(endings_));
  // Referenced while jobs are pending, so that an idle device does not keep the process alive.
  function_.Unref(env);
  endings_->function = function_;
  // Hooks run in the reverse order of their addition, so this one runs before the thread-safe function's own.
  napi_add_env_cleanup_hook(env, closeHook, this);
}

void JobChannel::close() {
  if (!open_) return;
  open_ = false;
  napi_remove_env_cleanup_hook(env_, closeHook, this);
  background_.reset();
  if (stop_) stop_();
  endings_->function = {};
  function_.Release();
}

JobListener JobChannel::listener() const {
  const auto send = [function = function_](Message message) {
    auto owned = std::make_unique<Message>(std::move(message));
    if (function.NonBlockingCall(owned.get()) == napi_ok) owned.release();
  };
  return {[send](uint32_t job, const Failure* failure) {
            send({job, true, 0, failure == nullptr ? std::string() : failureJson(*failure)});
          },
          [send](uint32_t job, uint64_t loadedBytes) {
            send({job, false, loadedBytes, {}});
          }};
}

uint32_t JobChannel::add() {
  if (!open_) throw Failure("device/closed", "The device was closed before.");
  if (endings_->pending.empty()) function_.Ref(env_);
  const uint32_t job = nextJob_++;
  endings_->pending.insert(job);
  return job;
}

uint32_t JobChannel::beginInBackground(std::function<void(const BackgroundJob& job)> task) {
  return begin([&](uint32_t job) {
    if (!background_) background_ = std::make_unique<Background>();
    background_->start([job, listener = listener(), run = std::move(task)](const std::atomic<bool>& stop) mutable {
      std::optional<Failure> failure;
      try {
        run({stop, [&](uint64_t loadedBytes) { listener.progressed(job, loadedBytes); }});
      } catch (...) {
        failure = currentFailure();
      }
      run = nullptr;  // what the task holds is released before its end is told
      listener.ended(job, failure ? &*failure : nullptr);
    });
  });
}

void JobChannel::whenEnded(uint32_t job, std::function<void(bool succeeded)> ending) {
  endings_->byJob.emplace(job, std::move(ending));
}

void JobChannel::acknowledge(uint32_t job) {
  endings_->byJob.erase(job);
  endings_->acknowledge(env_, job);
}

void JobChannel::Endings::acknowledge(napi_env env, uint32_t job) {
  if (pending.erase(job) == 0 || !pending.empty()) return;
  if (static_cast<napi_threadsafe_function>(function) != nullptr) function.Unref(env);
}

void JobChannel::deliver(Napi::Env env, Napi::Function callback, Endings* endings, Message* message) {
  const std::unique_ptr<Message> owned(message);
  if (static_cast<napi_env>(env) == nullptr) return;  // the environment is being torn down
  try {
    const Napi::HandleScope scope(env);
    const auto job = Napi::Number::New(env, message->job);
    if (!message->ended) {
      callback.Call(
          {job, Napi::Boolean::New(env, false), Napi::Number::New(env, static_cast<double>(message->loadedBytes))});
      return;
    }
    endings->acknowledge(env, message->job);
    if (const auto found = endings->byJob.find(message->job); found != endings->byJob.end()) {
      const auto ending = std::move(found->second);
      endings->byJob.erase(found);
      ending(message->failure.empty());
    }
    const JobTime time = endings->ofAny ? endings->ofAny(message->job) : JobTime();
    callback.Call({job, Napi::Boolean::New(env, true), Napi::Number::New(env, 0),
                   message->failure.empty() ? env.Undefined() : Napi::String::New(env, message->failure),
                   Napi::Number::New(env, time.beginMs), Napi::Number::New(env, time.endMs)});
  } catch (const Napi::Error& error) {
    // While a worker is being ended nothing can be called any more. In all other cases the listener threw: that is a bug.
    if (!error.IsEmpty()) napi_fatal_exception(env, error.Value());
  }
}

}  // namespace unicorn
