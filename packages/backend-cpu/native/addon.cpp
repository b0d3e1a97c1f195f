// The border to JavaScript: flat functions over opaque handles, mirrored and typed by `src/addon.ts`, which also
// validates what users pass; here it is only asserted. Every error is a Failure and leaves as an Error with its code.

#include <napi.h>

#include <cstring>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <unicorn/border.h>
#include <unicorn/handle.h>
#include <unicorn/job-channel.h>

#include "kernels/kernels.h"
#include "runtime/bandwidth.h"
#include "runtime/device.h"

namespace unicorn {
namespace {

// ---------------------------------------------------------------- devices

// A device and its way back to JavaScript. Used by the JavaScript thread only.
struct DeviceHost {
  DeviceHost(Napi::Env env, Napi::Function listener) : jobs(env, listener, [this] { device.reset(); }) {
    jobs.whenAnyEnded([states = states](uint32_t job) {
      const auto state = states->find(job);
      if (state == states->end()) return JobTime();
      const JobTime time{state->second->beginMs, state->second->endMs};
      states->erase(state);
      return time;
    });
  }

  // Begins a job of the device, which `start(id)` queues there; returns its id.
  template <typename Start>
  uint32_t begin(const Start& start) {
    return jobs.begin([&](uint32_t job) { (*states)[job] = start(job); });
  }

  // Of jobs whose end JavaScript was not told of yet. It may be told after the device was closed.
  using States = std::unordered_map<uint32_t, std::shared_ptr<JobState>>;
  const std::shared_ptr<States> states = std::make_shared<States>();
  std::unique_ptr<Device> device;
  JobChannel jobs;  // the last member, since it closes the device before anything is gone
};

// probe(): {levels, best}
Napi::Value probe(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Object result = Napi::Object::New(env);
  Napi::Array levels = Napi::Array::New(env);
  for (const Level level : {Level::portable, Level::avx2, Level::avx512vnni}) {
    if (levelAvailable(level)) levels[levels.Length()] = Napi::String::New(env, levelName(level));
  }
  result["levels"] = levels;
  result["best"] = Napi::String::New(env, levelName(bestLevel()));
  return result;
}

// openDevice(threads, level, listener) -> device
Napi::Value openDevice(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int threads = info[0].As<Napi::Number>().Int32Value();
  const std::string wanted = info[1].As<Napi::String>().Utf8Value();
  Level level = Level::portable;
  bool found = false;
  for (const Level candidate : {Level::portable, Level::avx2, Level::avx512vnni}) {
    if (wanted == levelName(candidate) && levelAvailable(candidate)) {
      level = candidate;
      found = true;
    }
  }
  require(found, "the level is one that probe lists");
  auto host = std::make_shared<DeviceHost>(env, callback(info[2]));
  host->device = std::make_unique<Device>(threads, level, host->jobs.listener());
  return newHandle(env, std::move(host));
}

// steadyClock() -> milliseconds, of the clock that the listener is told times of
Napi::Value steadyClock(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), steadyMs()); }

// closeDevice(device): joins its threads; idempotent.
Napi::Value closeDevice(const Napi::CallbackInfo& info) {
  Handle& handle = handleOf<DeviceHost>(info[0]);
  if (const auto host = objectOrNull<DeviceHost>(info[0])) host->jobs.close();
  handle.object.reset();
  return info.Env().Undefined();
}

// trimScratch(device)
Napi::Value trimScratch(const Napi::CallbackInfo& info) {
  object<DeviceHost>(info[0])->device->trim();
  return info.Env().Undefined();
}

// ---------------------------------------------------------------- weights

struct PendingLoad {
  std::shared_ptr<std::atomic<bool>> abort = std::make_shared<std::atomic<bool>>(false);
  std::shared_ptr<std::shared_ptr<WeightSet>> result = std::make_shared<std::shared_ptr<WeightSet>>();
};

// dispose(handle): weights or a program; idempotent.
Napi::Value dispose(const Napi::CallbackInfo& info) {
  Handle& handle = anyHandle(info[0]);
  require(handle.holds<PendingLoad>() || handle.holds<Program>(), "weights or a program are disposed of");
  handle.object.reset();
  return info.Env().Undefined();
}

// loadWeights(device, placement, paths, names, numbers, bytes) -> {job, load}
// placement: index of a WeightPlacement. numbers: for each entry dtype, rows, columns, mayPack, path index or -1, offset, byteLength.
Napi::Value loadWeights(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto host = object<DeviceHost>(info[0]);
  LoadJob job;
  const int32_t placement = info[1].As<Napi::Number>().Int32Value();
  require(placement >= 0 && placement <= static_cast<int32_t>(WeightPlacement::mapped), "a placement exists");
  job.requests.placement = static_cast<WeightPlacement>(placement);
  const auto paths = info[2].As<Napi::Array>();
  for (uint32_t i = 0; i < paths.Length(); i++) {
    job.requests.paths.push_back(Napi::Value(paths[i]).As<Napi::String>().Utf8Value());
  }
  const auto names = info[3].As<Napi::Array>();
  const auto numbers = info[4].As<Napi::Float64Array>();
  const auto bytes = info[5].As<Napi::Array>();
  require(numbers.ElementLength() == 7 * static_cast<size_t>(names.Length()), "each weight has seven numbers");
  for (uint32_t i = 0; i < names.Length(); i++) {
    const double* row = numbers.Data() + 7 * static_cast<size_t>(i);
    WeightRequest request;
    request.name = Napi::Value(names[i]).As<Napi::String>().Utf8Value();
    request.dtype = static_cast<DType>(static_cast<int32_t>(row[0]));
    request.rows = static_cast<int64_t>(row[1]);
    request.columns = static_cast<int64_t>(row[2]);
    request.mayPack = row[3] != 0;
    request.path = static_cast<int32_t>(row[4]);
    request.offset = static_cast<uint64_t>(row[5]);
    request.byteLength = static_cast<uint64_t>(row[6]);
    if (request.path < 0) {
      const auto source = Napi::Value(bytes[i]).As<Napi::Uint8Array>();
      require(source.ByteLength() == request.byteLength, "a weight has the bytes that its shape asks for");
      request.bytes = Pages::allocate(source.ByteLength());
      if (source.ByteLength() > 0) std::memcpy(request.bytes->data(), source.Data(), source.ByteLength());
    }
    job.requests.entries.push_back(std::move(request));
  }
  auto pending = std::make_shared<PendingLoad>();
  job.abort = pending->abort;
  job.result = pending->result;
  const uint32_t id = host->begin([&](uint32_t id) { return host->device->load(id, std::move(job)); });
  Napi::Object result = Napi::Object::New(env);
  result["job"] = Napi::Number::New(env, id);
  result["load"] = newHandle(env, std::move(pending));
  return result;
}

// abortLoad(load)
Napi::Value abortLoad(const Napi::CallbackInfo& info) {
  object<PendingLoad>(info[0])->abort->store(true);
  return info.Env().Undefined();
}

// ownedBytes(load): anonymous memory of loaded weights.
Napi::Value ownedBytes(const Napi::CallbackInfo& info) {
  const auto load = object<PendingLoad>(info[0]);
  return Napi::Number::New(info.Env(), *load->result ? static_cast<double>((*load->result)->ownedBytes()) : 0);
}

// weightForms(load) -> Uint8Array, the WeightForm of each weight
Napi::Value weightForms(const Napi::CallbackInfo& info) {
  const auto load = object<PendingLoad>(info[0]);
  require(*load->result != nullptr, "the weights are loaded");
  const WeightSet& set = **load->result;
  auto result = Napi::Uint8Array::New(info.Env(), set.size());
  for (size_t i = 0; i < set.size(); i++) result[i] = static_cast<uint8_t>(set.at(i).form);
  return result;
}

// ---------------------------------------------------------------- buffers

// Pages that a handle and an ArrayBuffer share. Disposal detaches the ArrayBuffer and empties this, so that memory is
// freed then and not by the garbage collector; without disposal the last of the two frees it.
struct Buffer {
  std::shared_ptr<Pages> pages;
};

// allocate(byteLength, exposed) -> {handle, memory?}. Not every size that memory has fits an ArrayBuffer, hence `exposed`.
Napi::Value allocate(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto buffer = std::make_shared<Buffer>();
  buffer->pages = Pages::allocate(static_cast<size_t>(info[0].As<Napi::Number>().DoubleValue()));
  const Pages& pages = *buffer->pages;
  Napi::Object result = Napi::Object::New(env);
  if (info[1].As<Napi::Boolean>()) {
    result["memory"] = pages.byteLength() == 0
                           ? Napi::ArrayBuffer::New(env, 0)
                           : Napi::ArrayBuffer::New(
                                 env, pages.data(), pages.byteLength(),
                                 [](Napi::Env, void*, std::shared_ptr<Buffer>* held) { delete held; },
                                 new std::shared_ptr<Buffer>(buffer));
  }
  result["handle"] = newHandle(env, std::move(buffer));
  return result;
}

// copyBuffer(handle, byteOffset, bytes, write): between a buffer and memory of JavaScript.
Napi::Value copyBuffer(const Napi::CallbackInfo& info) {
  const auto pages = object<Buffer>(info[0])->pages;
  const auto offset = static_cast<size_t>(info[1].As<Napi::Number>().DoubleValue());
  auto bytes = info[2].As<Napi::Uint8Array>();
  require(offset <= pages->byteLength() && bytes.ByteLength() <= pages->byteLength() - offset,
          "a copy lies inside its buffer");
  if (bytes.ByteLength() == 0) return info.Env().Undefined();
  uint8_t* inside = pages->data() + offset;
  if (info[3].As<Napi::Boolean>()) {
    std::memcpy(inside, bytes.Data(), bytes.ByteLength());
  } else {
    std::memcpy(bytes.Data(), inside, bytes.ByteLength());
  }
  return info.Env().Undefined();
}

// disposeBuffer(handle, memory?): idempotent. Submissions in flight keep the pages until they end.
Napi::Value disposeBuffer(const Napi::CallbackInfo& info) {
  Handle& handle = handleOf<Buffer>(info[0]);
  if (!handle.object) return info.Env().Undefined();
  if (info[1].IsArrayBuffer()) {
    Napi::ArrayBuffer memory = info[1].As<Napi::ArrayBuffer>();
    if (!memory.IsDetached()) memory.Detach();
  }
  std::static_pointer_cast<Buffer>(handle.object)->pages.reset();
  handle.object.reset();
  return info.Env().Undefined();
}

// ---------------------------------------------------------------- programs

// compile(device, loads, words, names, constants) -> {handle, scratchBytes}
// loads: the sets of weights; a weight's index counts through them.
Napi::Value compile(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto host = object<DeviceHost>(info[0]);
  std::vector<std::shared_ptr<WeightSet>> sets;
  const auto loads = info[1].As<Napi::Array>();
  for (uint32_t i = 0; i < loads.Length(); i++) {
    sets.push_back(*object<PendingLoad>(loads[i])->result);
    require(sets.back() != nullptr, "weights are loaded before a graph is compiled over them");
  }
  const auto words = info[2].As<Napi::Float64Array>();
  std::vector<std::string> names;
  const auto list = info[3].As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++) {
    names.push_back(Napi::Value(list[i]).As<Napi::String>().Utf8Value());
  }
  const auto constants = info[4].As<Napi::Uint8Array>();
  auto program =
      std::make_shared<Program>(std::move(sets), host->device->kernels(), host->device->threads(),
                                WordReader(words.Data(), words.ElementLength(), names),
                                std::vector<uint8_t>(constants.Data(), constants.Data() + constants.ByteLength()));
  Napi::Object result = Napi::Object::New(env);
  result["scratchBytes"] = Napi::Number::New(
      env, static_cast<double>(program->arenaBytes + program->sharedBytes + program->memberBytes * program->threads));
  result["handle"] = newHandle(env, std::move(program));
  return result;
}

// A part of memory: a buffer handle, or a Uint8Array.
JobBinding bindingOf(const Napi::Value& memory, size_t offset, size_t byteLength) {
  JobBinding binding{nullptr, byteLength, false, nullptr, {}};
  if (memory.IsExternal()) {
    binding.pages = object<Buffer>(memory)->pages;
    require(offset + byteLength <= binding.pages->byteLength(), "a binding lies inside its buffer");
    binding.data = binding.pages->data() + offset;
  } else {
    auto array = memory.As<Napi::Uint8Array>();
    require(offset + byteLength <= array.ByteLength(), "a binding lies inside its array");
    binding.data = array.Data() + offset;
  }
  return binding;
}

// Those jobs of an array of numbers whose end JavaScript was not told of; undefined is an empty array.
Device::After jobsOf(const DeviceHost& host, const Napi::Value& list) {
  Device::After jobs;
  if (list.IsUndefined()) return jobs;
  const auto numbers = list.As<Napi::Array>();
  for (uint32_t i = 0; i < numbers.Length(); i++) {
    const auto state = host.states->find(Napi::Value(numbers[i]).As<Napi::Number>().Uint32Value());
    if (state != host.states->end()) jobs.push_back(state->second);
  }
  return jobs;
}

// submit(device, program, dims, bindings, numbers, after?) -> job
// bindings: for each slot a Uint8Array, or a buffer handle. numbers: for each slot byte offset, byteLength, and how it is
// bound: 0 copied host data, 1 read in place, 2 written in place. after: jobs of this device.
Napi::Value submit(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto host = object<DeviceHost>(info[0]);
  ProgramJob job;
  job.program = object<Program>(info[1]);
  const auto dims = info[2].As<Napi::Float64Array>();
  require(dims.ElementLength() == job.program->symbolCount, "a submission has a value for each symbol");
  for (size_t i = 0; i < dims.ElementLength(); i++) {
    const auto value = static_cast<int64_t>(dims[i]);
    require(value >= 0 && value <= job.program->maximumDims[i], "a dim is at most its maximum");
    job.symbols.push_back(value);
  }
  const auto bindings = info[3].As<Napi::Array>();
  const auto numbers = info[4].As<Napi::Float64Array>();
  require(bindings.Length() == job.program->bindingCount && numbers.ElementLength() == 3 * bindings.Length(),
          "a submission binds every slot");
  job.bindings.reserve(bindings.Length());
  for (uint32_t i = 0; i < bindings.Length(); i++) {
    const Napi::Value source = bindings[i];
    const auto offset = static_cast<size_t>(numbers[3 * i]);
    const auto byteLength = static_cast<size_t>(numbers[3 * i + 1]);
    const auto mode = static_cast<int>(numbers[3 * i + 2]);
    JobBinding binding = bindingOf(source, offset, byteLength);
    binding.written = mode == 2;
    if (mode == 0) {
      binding.copy.assign(binding.data, binding.data + byteLength);
      binding.data = binding.copy.data();
    }
    job.bindings.push_back(std::move(binding));
  }
  const uint32_t id =
      host->begin([&](uint32_t id) { return host->device->submit(id, std::move(job), jobsOf(*host, info[5])); });
  return Napi::Number::New(env, id);
}

// copy(device, from, fromOffset, to, toOffset, byteLength, after?) -> job
// from, to: a Uint8Array, or a buffer handle. after: jobs of this device.
Napi::Value copy(const Napi::CallbackInfo& info) {
  const auto host = object<DeviceHost>(info[0]);
  const auto size = [&](size_t argument) {
    return static_cast<size_t>(info[argument].As<Napi::Number>().DoubleValue());
  };
  CopyJob job{bindingOf(info[1], size(2), size(5)), bindingOf(info[3], size(4), size(5))};
  const uint32_t id =
      host->begin([&](uint32_t id) { return host->device->copy(id, std::move(job), jobsOf(*host, info[6])); });
  return Napi::Number::New(info.Env(), id);
}

// profile(program) -> Float64Array of seconds and calls for each step
Napi::Value profile(const Napi::CallbackInfo& info) {
  const auto program = object<Program>(info[0]);
  std::lock_guard<std::mutex> lock(program->profileMutex);
  auto result = Napi::Float64Array::New(info.Env(), 2 * program->profile.size());
  for (size_t i = 0; i < program->profile.size(); i++) {
    result[2 * i] = program->profile[i].seconds;
    result[2 * i + 1] = static_cast<double>(program->profile[i].calls);
  }
  return result;
}

// measureReadBandwidth(threads, byteLength) -> bytes per second
Napi::Value measureReadBandwidth(const Napi::CallbackInfo& info) {
  const double bytesPerSecond =
      unicorn::measureReadBandwidth(info[0].As<Napi::Number>().Int32Value(), info[1].As<Napi::Number>().Int64Value());
  return Napi::Number::New(info.Env(), bytesPerSecond);
}

// Version of the words and functions between this addon and the TypeScript (`addonConfig` of src/load-addon.ts).
constexpr int addonVersion = 4;

void fill(Napi::Object exports) {
  UNICORN_EXPORT(exports, probe);
  UNICORN_EXPORT(exports, openDevice);
  UNICORN_EXPORT(exports, closeDevice);
  UNICORN_EXPORT(exports, steadyClock);
  UNICORN_EXPORT(exports, trimScratch);
  UNICORN_EXPORT(exports, dispose);
  UNICORN_EXPORT(exports, loadWeights);
  UNICORN_EXPORT(exports, abortLoad);
  UNICORN_EXPORT(exports, ownedBytes);
  UNICORN_EXPORT(exports, weightForms);
  UNICORN_EXPORT(exports, allocate);
  UNICORN_EXPORT(exports, copyBuffer);
  UNICORN_EXPORT(exports, disposeBuffer);
  UNICORN_EXPORT(exports, compile);
  UNICORN_EXPORT(exports, submit);
  UNICORN_EXPORT(exports, copy);
  UNICORN_EXPORT(exports, profile);
  UNICORN_EXPORT(exports, measureReadBandwidth);
}

}  // namespace
}  // namespace unicorn

UNICORN_ADDON(unicorn::addonVersion, unicorn::fill)
