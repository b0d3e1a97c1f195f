// The border of the toy addon: each thing that the kit offers, once.

#include <fcntl.h>
#include <napi.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <new>
#include <stdexcept>
#include <thread>

#include <unicorn/border.h>
#include <unicorn/handle.h>
#include <unicorn/job-channel.h>
#include <unicorn/mapped-file.h>

#include "device.h"

namespace toy {
namespace {

using namespace unicorn;

// ---------------------------------------------------------------- failures and arguments

// fail(kind): throws what the name says.
Napi::Value fail(const Napi::CallbackInfo& info) {
  const std::string kind = text(info[0]);
  if (kind == "memory") throw std::bad_alloc();
  if (kind == "range") throw std::out_of_range("position 7");
  if (kind == "other") throw std::runtime_error("something else");
  if (kind == "number") throw 7;
  if (kind == "javascript") throw Napi::TypeError::New(info.Env(), "a plain error");
  throw Failure("usage/kind", "There is no failure \"" + kind + "\".", {{"length", static_cast<int64_t>(kind.size())}},
                {{"kind", kind}})
      .withFix("Use another one.");
}

// describe(whole, bytes, words, items, flag) -> string
Napi::Value describe(const Napi::CallbackInfo& info) {
  const uint64_t whole = wholeNumber(info[0], 1000, "the number is at most 1000");
  const Bytes bytes = bytesOf(info[1]);
  const auto words = typedArray<Napi::Uint32Array>(info[2], napi_uint32_array, "words are a Uint32Array");
  const Napi::Array items = list(info[3]);
  return Napi::String::New(info.Env(), std::to_string(whole) + " " + std::to_string(bytes.byteLength) + " " +
                                           std::to_string(words.ElementLength()) + " " +
                                           std::to_string(items.Length()) + (flag(info[4]) ? " yes" : " no"));
}

// ---------------------------------------------------------------- a mapped file

// openFile(path) -> file
Napi::Value openFile(const Napi::CallbackInfo& info) { return newHandle(info.Env(), MappedFile::open(text(info[0]))); }

// sumOf(file, offset, byteLength) -> number, by every way of touching a range
Napi::Value sumOf(const Napi::CallbackInfo& info) {
  const auto file = object<MappedFile>(info[0]);
  const uint64_t offset = wholeNumber(info[1], largestWholeNumber, "an offset is a whole number");
  const uint64_t byteLength = wholeNumber(info[2], largestWholeNumber, "a length is a whole number");
  file->expectRange(offset, byteLength, "numbers");
  if (byteLength > 0) {
    file->prefetch(offset, byteLength);
    file->populate(offset, byteLength);
    file->forget(offset, byteLength);
  }
  uint64_t sum = 0;
  for (uint64_t i = 0; i < byteLength; i++) sum += file->data()[offset + i];
  file->expectIntact();
  return Napi::Number::New(info.Env(), static_cast<double>(sum));
}

// pagesAround(file, offset, byteLength, alignment) -> [offset, byteLength]
Napi::Value pagesAround(const Napi::CallbackInfo& info) {
  const auto number = [&](size_t i) { return wholeNumber(info[i], largestWholeNumber, "a whole number"); };
  const auto pages = object<MappedFile>(info[0])->pagesAround(number(1), number(2), number(3));
  auto result = Napi::Array::New(info.Env(), 2);
  result[0U] = Napi::Number::New(info.Env(), static_cast<double>(pages.offset));
  result[1U] = Napi::Number::New(info.Env(), static_cast<double>(pages.byteLength));
  return result;
}

// catchBusErrors(): a handler as a program may have one, which says so and ends the process with 3.
Napi::Value catchBusErrors(const Napi::CallbackInfo& info) {
  struct sigaction action {};
  action.sa_handler = [](int) {
    constexpr char words[] = "caught\n";
    static_cast<void>(!write(STDOUT_FILENO, words, sizeof words - 1));
    _exit(3);
  };
  sigaction(SIGBUS, &action, nullptr);
  return info.Env().Undefined();
}

// touchUnguarded(path): reads the first byte of an empty file, which the kit knows nothing of.
Napi::Value touchUnguarded(const Napi::CallbackInfo& info) {
  const int descriptor = ::open(text(info[0]).c_str(), O_RDONLY | O_CLOEXEC);
  void* data = mmap(nullptr, 1, PROT_READ, MAP_PRIVATE, descriptor, 0);
  require(data != MAP_FAILED, "the file is there");
  return Napi::Number::New(info.Env(), *static_cast<const volatile uint8_t*>(data));
}

// ---------------------------------------------------------------- a device and its jobs

struct DeviceHost {
  DeviceHost(Napi::Env env, Napi::Function listener) : jobs(env, listener, [this] { device.reset(); }) {
    device = std::make_unique<Device>(jobs.listener());
    jobs.whenAnyEnded([](uint32_t job) { return JobTime{job + 0.25, job + 0.5}; });
  }
  std::unique_ptr<Device> device;
  JobChannel jobs;
};

// openDevice(listener) -> device
Napi::Value openDevice(const Napi::CallbackInfo& info) {
  return newHandle(info.Env(), std::make_shared<DeviceHost>(info.Env(), callback(info[0])));
}

// closeDevice(device): idempotent.
Napi::Value closeDevice(const Napi::CallbackInfo& info) {
  if (const auto host = objectOrNull<DeviceHost>(info[0])) host->jobs.close();
  return info.Env().Undefined();
}

// dispose(handle): idempotent.
Napi::Value dispose(const Napi::CallbackInfo& info) {
  anyHandle(info[0]).object.reset();
  return info.Env().Undefined();
}

// add(device, a, b, into) -> job: `into`, a BigInt64Array, gets the sum before the listener is told.
Napi::Value add(const Napi::CallbackInfo& info) {
  const auto host = object<DeviceHost>(info[0]);
  const int64_t a = info[1].As<Napi::Number>().Int64Value();
  const int64_t b = info[2].As<Napi::Number>().Int64Value();
  const auto into = typedArray<Napi::BigInt64Array>(info[3], napi_bigint64_array, "the sum is a BigInt64Array");
  const auto reference = std::make_shared<Napi::ObjectReference>(Napi::Persistent(into.As<Napi::Object>()));
  const auto sum = std::make_shared<int64_t>(0);
  const uint32_t id = host->jobs.begin([&](uint32_t job) {
    host->device->add(job, a, b, sum.get());
    host->jobs.whenEnded(job, [reference, sum](bool succeeded) {
      const Bytes bytes = bytesOf(reference->Value());
      if (succeeded) std::memcpy(bytes.data, sum.get(), sizeof *sum);
    });
  });
  return Napi::Number::New(info.Env(), id);
}

// count(device, steps, stepMs) -> job: in the background, reports each step, fails when it is stopped.
Napi::Value count(const Napi::CallbackInfo& info) {
  const uint64_t steps = wholeNumber(info[1], largestWholeNumber, "steps are a whole number");
  const uint64_t stepMs = wholeNumber(info[2], 1000, "a step takes at most a second");
  const uint32_t id = object<DeviceHost>(info[0])->jobs.beginInBackground([steps, stepMs](const BackgroundJob& job) {
    for (uint64_t step = 1; step <= steps; step++) {
      if (job.stop) throw Failure("device/closed", "The device was closed while it counted.");
      std::this_thread::sleep_for(std::chrono::milliseconds(stepMs));
      job.progressed(step);
    }
    if (steps == 0) throw std::runtime_error("nothing to count");
  });
  return Napi::Number::New(info.Env(), id);
}

// refuse(device): a job that cannot be begun.
Napi::Value refuse(const Napi::CallbackInfo& info) {
  object<DeviceHost>(info[0])->jobs.begin([](uint32_t) { throw Failure("usage/refused", "No."); });
  return info.Env().Undefined();
}

void fill(Napi::Object exports) {
  UNICORN_EXPORT(exports, fail);
  UNICORN_EXPORT(exports, describe);
  UNICORN_EXPORT(exports, openFile);
  UNICORN_EXPORT(exports, sumOf);
  UNICORN_EXPORT(exports, pagesAround);
  UNICORN_EXPORT(exports, catchBusErrors);
  UNICORN_EXPORT(exports, touchUnguarded);
  UNICORN_EXPORT(exports, openDevice);
  UNICORN_EXPORT(exports, closeDevice);
  UNICORN_EXPORT(exports, dispose);
  UNICORN_EXPORT(exports, add);
  UNICORN_EXPORT(exports, count);
  UNICORN_EXPORT(exports, refuse);
}

}  // namespace
}  // namespace toy

UNICORN_ADDON(8, toy::fill)
