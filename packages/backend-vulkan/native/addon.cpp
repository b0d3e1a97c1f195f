// The border to JavaScript: flat functions over opaque handles, mirrored and typed by `src/addon.ts`. Every error is a
// Failure and leaves as an Error with its code. It is long because it is a list: what each function does lies elsewhere.

#include <napi.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <unicorn/border.h>
#include <unicorn/handle.h>

#include "device/device-host.h"
#include "weights/weight-set.h"

namespace unicorn {
namespace {

// The most bytes of a device buffer that the host can write, where there is such memory beside the other: inputs are small.
constexpr uint64_t mappedBufferBytes = uint64_t{1} << 20;

// The most bytes of a buffer of device memory that is an ArrayBuffer too, where the host reads it fast.
constexpr uint64_t exposedBufferBytes = uint64_t{1} << 30;

// What an environment (the main thread, a worker) holds of Vulkan.
struct Environment {
  std::shared_ptr<MessageSink> messages = std::make_shared<MessageSink>();
  std::shared_ptr<Instance> instance;

  // The instance of the last probe, which later ones share as long as they ask for the same kind.
  const std::shared_ptr<Instance>& open(bool validation) {
    if (!instance || instance->validation() != validation) instance = Instance::create(validation, messages);
    return instance;
  }
};

Environment& environment(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

std::shared_ptr<DeviceHost> hostOf(const Napi::Value& value) { return object<DeviceHost>(value); }

// ---------------------------------------------------------------- probing

const char* kindName(VkPhysicalDeviceType type) {
  switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU: return "discrete";
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU: return "integrated";
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU: return "virtual";
    case VK_PHYSICAL_DEVICE_TYPE_CPU: return "cpu";
    default: return "other";
  }
}

std::string hex(const uint8_t* bytes, size_t count) {
  std::string out;
  for (size_t i = 0; i < count; i++) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", bytes[i]);
    out += digits;
  }
  return out;
}

Napi::Array texts(Napi::Env env, const std::vector<std::string>& list) {
  auto array = Napi::Array::New(env, list.size());
  for (uint32_t i = 0; i < list.size(); i++) array[i] = Napi::String::New(env, list[i]);
  return array;
}

Napi::Object describe(Napi::Env env, const PhysicalDevice& device) {
  const VkPhysicalDeviceProperties& properties = device.properties;
  const VkPhysicalDeviceLimits& limits = properties.limits;
  auto result = Napi::Object::New(env);
  const auto number = [&](const char* name, double value) { result[name] = Napi::Number::New(env, value); };
  const auto boolean = [&](const char* name, bool value) { result[name] = Napi::Boolean::New(env, value); };
  const auto string = [&](const char* name, const std::string& value) { result[name] = Napi::String::New(env, value); };
  number("index", device.index);
  string("uuid", hex(device.uuid.data(), device.uuid.size()));
  string("name", properties.deviceName);
  string("kind", kindName(properties.deviceType));
  number("vendorId", properties.vendorID);
  number("deviceId", properties.deviceID);
  string("driver", device.driver);
  string("apiVersion", versionText(properties.apiVersion));
  string("pipelineCacheUuid", hex(properties.pipelineCacheUUID, VK_UUID_SIZE));
  result["missing"] = texts(env, device.missing);
  result["extensions"] = texts(env, device.extensions);
  number("subgroupSize", device.subgroupSize);
  number("minSubgroupSize", device.minSubgroupSize);
  number("maxSubgroupSize", device.maxSubgroupSize);
  number("maxInvocations", limits.maxComputeWorkGroupInvocations);
  number("sharedMemoryBytes", limits.maxComputeSharedMemorySize);
  number("maxAllocationBytes", static_cast<double>(device.maxAllocationBytes));
  number("maxPushConstantBytes", limits.maxPushConstantsSize);
  auto groups = Napi::Array::New(env, 3);
  for (uint32_t i = 0; i < 3; i++) groups[i] = Napi::Number::New(env, limits.maxComputeWorkGroupCount[i]);
  result["maxGroups"] = groups;
  number("timestampPeriodNs", device.timestampBits == 0 ? 0 : static_cast<double>(limits.timestampPeriod));
  number("computeUnits", device.computeUnits);
  boolean("float16", device.float16);
  boolean("int8", device.missing.empty());
  boolean("integerDot", device.integerDot);
  boolean("memoryBudget", device.memoryBudget);
  boolean("externalMemoryHost", device.hostImportAlignment > 0);
  auto shapes = Napi::Array::New(env, device.matrixShapes.size());
  for (uint32_t i = 0; i < device.matrixShapes.size(); i++) {
    const MatrixShape& shape = device.matrixShapes[i];
    auto numbers = Napi::Array::New(env, 6);
    const uint32_t values[] = {shape.m, shape.n, shape.k, shape.a, shape.result, shape.scope};
    for (uint32_t j = 0; j < 6; j++) numbers[j] = Napi::Number::New(env, values[j]);
    shapes[i] = numbers;
  }
  result["cooperativeMatrix"] = shapes;
  auto heaps = Napi::Array::New(env, device.memory.memoryHeapCount);
  for (uint32_t i = 0; i < device.memory.memoryHeapCount; i++) {
    auto heap = Napi::Object::New(env);
    heap["bytes"] = Napi::Number::New(env, static_cast<double>(device.memory.memoryHeaps[i].size));
    heap["deviceLocal"] =
        Napi::Boolean::New(env, (device.memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) != 0);
    bool hostVisible = false;
    for (uint32_t type = 0; type < device.memory.memoryTypeCount; type++) {
      hostVisible =
          hostVisible || (device.memory.memoryTypes[type].heapIndex == i &&
                          (device.memory.memoryTypes[type].propertyFlags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT) != 0);
    }
    heap["hostVisible"] = Napi::Boolean::New(env, hostVisible);
    heaps[i] = heap;
  }
  result["heaps"] = heaps;
  return result;
}

// probe(validation) -> {loader, devices} or {reason, fix}
Napi::Value probe(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto result = Napi::Object::New(env);
  try {
    const auto instance = environment(env).open(flag(info[0]));
    const std::vector<VkPhysicalDevice> handles = instance->physicalDevices();
    if (handles.empty()) {
      throw Failure("device/unavailable", "There is no Vulkan device.")
          .withFix("apt-get install mesa-vulkan-drivers, or the driver of the GPU's maker.");
    }
    auto devices = Napi::Array::New(env, handles.size());
    for (uint32_t i = 0; i < handles.size(); i++) {
      devices[i] = describe(env, *PhysicalDevice::examine(instance, i, handles[i]));
    }
    result["loader"] = Napi::String::New(env, instance->loader().path());
    result["devices"] = devices;
  } catch (const Failure& failure) {
    if (failure.code != "device/unavailable") throw;
    result["reason"] = Napi::String::New(env, failure.message);
    result["fix"] = Napi::String::New(env, failure.fix);
  }
  return result;
}

// validationMessages() -> string[]
Napi::Value validationMessages(const Napi::CallbackInfo& info) {
  return texts(info.Env(), environment(info.Env()).messages->take());
}

// ---------------------------------------------------------------- devices

// openDevice(index, pipelineCache?, listener, id) -> device
Napi::Value openDevice(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Function listener = callback(info[2]);
  Environment& own = environment(env);
  const std::shared_ptr<Instance> instance = own.instance ? own.instance : own.open(false);
  const std::vector<VkPhysicalDevice> handles = instance->physicalDevices();
  const auto index = static_cast<uint32_t>(wholeNumber(info[0], UINT32_MAX, "the index of a device is a whole number"));
  if (index >= handles.size()) {
    throw Failure("device/unavailable", "There is no Vulkan device " + std::to_string(index) + ".",
                  {{"index", index}, {"devices", static_cast<int64_t>(handles.size())}});
  }
  std::vector<uint8_t> cache;
  if (!info[1].IsUndefined()) {
    const Bytes bytes = bytesOf(info[1]);
    cache.assign(bytes.data, bytes.data + bytes.byteLength);
  }
  auto device = Device::open(PhysicalDevice::examine(instance, index, handles[index]), cache, text(info[3]));
  return newHandle(env, std::make_shared<DeviceHost>(env, std::move(device), listener));
}

// closeDevice(device): idempotent.
Napi::Value closeDevice(const Napi::CallbackInfo& info) {
  if (const auto host = objectOrNull<DeviceHost>(info[0])) host->close();
  handleOf<DeviceHost>(info[0]).object.reset();
  return info.Env().Undefined();
}

// budgets(device) -> {budgetBytes, usedBytes}[]
Napi::Value budgets(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::vector<Budget> list = hostOf(info[0])->device()->memory().budgets();
  auto result = Napi::Array::New(env, list.size());
  for (uint32_t i = 0; i < list.size(); i++) {
    auto entry = Napi::Object::New(env);
    entry["budgetBytes"] = Napi::Number::New(env, static_cast<double>(list[i].budgetBytes));
    entry["usedBytes"] = Napi::Number::New(env, static_cast<double>(list[i].usedBytes));
    result[i] = entry;
  }
  return result;
}

// allocations(device) -> number
Napi::Value allocations(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(hostOf(info[0])->device()->memory().allocations()));
}

// pipelineCache(device) -> Uint8Array
Napi::Value pipelineCache(const Napi::CallbackInfo& info) {
  const std::vector<uint8_t> bytes = hostOf(info[0])->device()->pipelineCache();
  auto result = Napi::Uint8Array::New(info.Env(), bytes.size());
  if (!bytes.empty()) std::memcpy(result.Data(), bytes.data(), bytes.size());
  return result;
}

// dispose(handle): anything but a device; idempotent.
Napi::Value dispose(const Napi::CallbackInfo& info) {
  Handle& handle = anyHandle(info[0]);
  require(!handle.holds<DeviceHost>(), "devices are closed");
  handle.object.reset();
  return info.Env().Undefined();
}

// ---------------------------------------------------------------- buffers

// The memory that a handle and an ArrayBuffer share. Disposal detaches the ArrayBuffer and empties this, so that memory is
// freed then and not by the garbage collector; without disposal the last of the two frees it.
struct BufferCell {
  std::shared_ptr<Buffer> buffer;
};

std::shared_ptr<Buffer> bufferOf(const Napi::Value& value, const Device& device) {
  const auto buffer = object<BufferCell>(value)->buffer;
  require(&buffer->device() == &device, "a buffer belongs to the device");
  return buffer;
}

void requireInside(const Buffer& buffer, uint64_t byteOffset, uint64_t byteLength) {
  require(byteOffset <= buffer.byteLength() && byteLength <= buffer.byteLength() - byteOffset,
          "a range lies inside its buffer");
}

// allocate(device, byteLength, kind) -> {handle, address, memory?, coherent}
Napi::Value allocate(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto host = hostOf(info[0]);
  const std::shared_ptr<Device>& device = host->device();
  const uint64_t byteLength = wholeNumber(info[1], largestWholeNumber, "the length of a buffer is a whole number");
  const std::string kind = text(info[2]);
  require(kind == "device" || kind == "mapped" || kind == "host" || kind == "shared",
          "a buffer is the device's, the device's and mapped, the host's, or shared");
  if (device->isLost()) throw device->lostFailure();
  const bool mapped = kind == "mapped" || byteLength <= mappedBufferBytes;
  const MemoryUse use = kind == "host"                            ? MemoryUse::host
                        : kind == "shared"                        ? MemoryUse::shared
                        : mapped && !device->physical().unified() ? MemoryUse::mapped
                                                                  : MemoryUse::device;
  auto cell = std::make_shared<BufferCell>();
  cell->buffer = Buffer::allocate(device, byteLength, use);
  const Buffer& buffer = *cell->buffer;
  const bool exposed = buffer.mapped() != nullptr && (use == MemoryUse::host || use == MemoryUse::shared ||
                                                      (buffer.cached() && byteLength <= exposedBufferBytes));
  // Memory that the host sees is cleared at once, and so is memory that is cheaper to clear than to submit.
  host->queue().clear(cell->buffer, exposed || byteLength <= mappedBufferBytes);
  auto result = Napi::Object::New(env);
  result["address"] = Napi::BigInt::New(env, static_cast<uint64_t>(buffer.address()));
  if (exposed) {
    result["memory"] = byteLength == 0 ? Napi::ArrayBuffer::New(env, 0)
                                       : Napi::ArrayBuffer::New(
                                             env, buffer.mapped(), byteLength,
                                             [](Napi::Env, void*, std::shared_ptr<BufferCell>* held) { delete held; },
                                             new std::shared_ptr<BufferCell>(cell));
  }
  result["coherent"] = Napi::Boolean::New(env, buffer.coherent());
  result["handle"] = newHandle(env, std::move(cell));
  return result;
}

// importMemory(device, memory) -> {handle, address} or undefined. JavaScript keeps the memory as long as the handle.
Napi::Value importMemory(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto host = hostOf(info[0]);
  if (host->device()->isLost()) throw host->device()->lostFailure();
  const Bytes memory = bytesOf(info[1]);
  auto cell = std::make_shared<BufferCell>();
  cell->buffer = Buffer::importWritable(host->device(), memory.data, memory.byteLength);
  if (!cell->buffer) return env.Undefined();
  auto result = Napi::Object::New(env);
  result["address"] = Napi::BigInt::New(env, static_cast<uint64_t>(cell->buffer->address()));
  result["handle"] = newHandle(env, std::move(cell));
  return result;
}

// syncBuffer(device, buffer, toHost, ranges)
Napi::Value syncBuffer(const Napi::CallbackInfo& info) {
  const auto host = hostOf(info[0]);
  const auto buffer = bufferOf(info[1], *host->device());
  const auto ranges = typedArray<Napi::Float64Array>(info[3], napi_float64_array, "ranges are a Float64Array");
  std::vector<std::pair<uint64_t, uint64_t>> parts;
  for (size_t i = 0; i + 1 < ranges.ElementLength(); i += 2) {
    const uint64_t offset = wholeNumber(ranges[i], largestWholeNumber, "an offset is a whole number");
    const uint64_t byteLength = wholeNumber(ranges[i + 1], largestWholeNumber, "a length is a whole number");
    requireInside(*buffer, offset, byteLength);
    parts.emplace_back(offset, byteLength);
  }
  buffer->sync(flag(info[2]), std::move(parts));
  return info.Env().Undefined();
}

// disposeBuffer(handle, memory?): idempotent. Submissions in flight keep it until they end.
Napi::Value disposeBuffer(const Napi::CallbackInfo& info) {
  Handle& handle = handleOf<BufferCell>(info[0]);
  if (!handle.object) return info.Env().Undefined();
  if (info[1].IsArrayBuffer()) {
    auto memory = info[1].As<Napi::ArrayBuffer>();
    const auto& buffer = std::static_pointer_cast<BufferCell>(handle.object)->buffer;
    require(memory.IsDetached() || memory.ByteLength() == 0 || memory.Data() == buffer->mapped(),
            "the memory is the buffer's");
    if (!memory.IsDetached()) memory.Detach();
    std::static_pointer_cast<BufferCell>(handle.object)->buffer.reset();
  }
  handle.object.reset();
  return info.Env().Undefined();
}

HostWrite hostWrite(std::shared_ptr<Buffer> target, uint64_t byteOffset, const Bytes& data) {
  requireInside(*target, byteOffset, data.byteLength);
  return {std::move(target), byteOffset, data.byteLength,
          [data](uint8_t* to) { std::memcpy(to, data.data, data.byteLength); }};
}

// write(device, buffer, byteOffset, data) -> job
Napi::Value write(const Napi::CallbackInfo& info) {
  const auto host = hostOf(info[0]);
  auto target = bufferOf(info[1], *host->device());
  const uint64_t byteOffset = wholeNumber(info[2], largestWholeNumber, "an offset is a whole number");
  Work work;
  work.writes.push_back(hostWrite(std::move(target), byteOffset, bytesOf(info[3])));
  return Napi::Number::New(info.Env(),
                           host->jobs().begin([&](uint32_t job) { host->queue().submit(job, std::move(work)); }));
}

// copy(device, source, sourceOffset, target, targetOffset, byteLength) -> job
Napi::Value copy(const Napi::CallbackInfo& info) {
  const auto host = hostOf(info[0]);
  const auto source = bufferOf(info[1], *host->device());
  const auto target = bufferOf(info[3], *host->device());
  const uint64_t from = wholeNumber(info[2], largestWholeNumber, "an offset is a whole number");
  const uint64_t to = wholeNumber(info[4], largestWholeNumber, "an offset is a whole number");
  const uint64_t byteLength = wholeNumber(info[5], largestWholeNumber, "a length is a whole number");
  requireInside(*source, from, byteLength);
  requireInside(*target, to, byteLength);
  return Napi::Number::New(info.Env(), host->jobs().begin([&](uint32_t job) {
    host->queue().copy(job, source, from, target, to, byteLength);
  }));
}

// read(device, buffer, byteOffset, into) -> job
Napi::Value read(const Napi::CallbackInfo& info) {
  const auto host = hostOf(info[0]);
  Queue& queue = host->queue();
  const auto source = bufferOf(info[1], *host->device());
  const uint64_t byteOffset = wholeNumber(info[2], largestWholeNumber, "an offset is a whole number");
  const Bytes into = bytesOf(info[3]);
  requireInside(*source, byteOffset, into.byteLength);
  const uint32_t id = host->jobs().begin([&](uint32_t job) {
    if (source->mapped() != nullptr && source->cached() && queue.isIdle(*source)) {
      source->sync(true, {{byteOffset, into.byteLength}});
      if (into.byteLength > 0) std::memcpy(into.data, source->mapped() + byteOffset, into.byteLength);
      queue.pass(job);
      return;
    }
    auto staging = queue.read(job, source, byteOffset, into.byteLength);
    // The end is told on this thread, so there is time to note where the bytes go.
    if (staging) host->deliverTo(job, info[3].As<Napi::TypedArray>(), std::move(staging));
  });
  return Napi::Number::New(info.Env(), id);
}

// ---------------------------------------------------------------- weights

struct PendingLoad {
  std::shared_ptr<Device> device;
  std::shared_ptr<std::atomic<bool>> abort = std::make_shared<std::atomic<bool>>(false);
  // The loaded weights, which the loading thread stores atomically.
  std::shared_ptr<WeightSet> set;
};

constexpr uint32_t numbersOfWeight = 8;

// Numbers of a weight: dtype, rows, columns, layout, path index or -1, offset, byteLength, 1 if it stays in host memory.
WeightRequest weightRequest(const double* numbers, size_t pathCount) {
  WeightRequest request;
  const auto number = [&](int at, uint64_t maximum) {
    return wholeNumber(numbers[at], maximum, "the numbers of a weight are whole and in range");
  };
  const auto dtype = static_cast<int32_t>(number(0, 255));
  // The largest number of rows and of columns: no product of them is beyond 64 bits. The file's length bounds them as well.
  const auto rows = static_cast<int64_t>(number(1, uint64_t{1} << 31));
  const auto columns = static_cast<int64_t>(number(2, uint64_t{1} << 28));
  const uint64_t layout = number(3, 1);
  if (!weightLayout(dtype, rows, columns, &request.layout) || request.layout.inPlanes != (layout == 1)) {
    throw Failure("unsupported/dtype", "The device has no layout for a weight of this type and shape.",
                  {{"dtype", dtype}, {"rows", rows}, {"columns", columns}, {"layout", static_cast<int64_t>(layout)}});
  }
  request.path = numbers[4] == -1 ? -1 : static_cast<int32_t>(number(4, INT32_MAX));
  require(request.path < static_cast<int64_t>(pathCount), "the path of a weight is one of those given");
  request.offset = number(5, largestWholeNumber);
  request.byteLength = number(6, largestWholeNumber);
  request.inHostMemory = number(7, 1) == 1;
  return request;
}

// loadWeights(device, paths, names, numbers, bytes) -> {job, load}
Napi::Value loadWeights(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto host = hostOf(info[0]);
  Queue* const queue = &host->queue();
  WeightRequests requests;
  const auto paths = list(info[1]);
  for (uint32_t i = 0; i < paths.Length(); i++) requests.paths.push_back(text(Napi::Value(paths[i])));
  const auto names = list(info[2]);
  const auto numbers = typedArray<Napi::Float64Array>(info[3], napi_float64_array, "numbers are a Float64Array");
  const auto bytes = list(info[4]);
  require(numbers.ElementLength() == numbersOfWeight * static_cast<size_t>(names.Length()),
          "each weight has eight numbers");
  for (uint32_t i = 0; i < names.Length(); i++) {
    WeightRequest request =
        weightRequest(numbers.Data() + numbersOfWeight * static_cast<size_t>(i), requests.paths.size());
    request.name = text(Napi::Value(names[i]));
    if (request.path < 0) {
      const Bytes source = bytesOf(Napi::Value(bytes[i]));
      require(source.byteLength == request.byteLength, "a weight has the bytes that its shape asks for");
      request.bytes.assign(source.data, source.data + source.byteLength);
    }
    requests.entries.push_back(std::move(request));
  }
  auto pending = std::make_shared<PendingLoad>();
  pending->device = host->device();
  const uint32_t id = host->jobs().beginInBackground(
      [queue, pending, requests = std::move(requests)](const BackgroundJob& job) mutable {
        const LoadControl control{
            pending->abort, &job.stop, job.progressed,
            [&](std::shared_ptr<Timeline> timeline, uint64_t value) { queue->waitFor(std::move(timeline), value); }};
        std::atomic_store(&pending->set, WeightSet::load(pending->device, std::move(requests), control));
      });
  auto result = Napi::Object::New(env);
  result["job"] = Napi::Number::New(env, id);
  result["load"] = newHandle(env, std::move(pending));
  return result;
}

// abortLoad(load)
Napi::Value abortLoad(const Napi::CallbackInfo& info) {
  object<PendingLoad>(info[0])->abort->store(true);
  return info.Env().Undefined();
}

std::shared_ptr<WeightSet> weightsOf(const Napi::Value& value) {
  const auto load = object<PendingLoad>(value);
  auto set = std::atomic_load(&load->set);
  require(set != nullptr, "the weights are loaded");
  return set;
}

// weightAddresses(load) -> BigUint64Array
Napi::Value weightAddresses(const Napi::CallbackInfo& info) {
  const auto set = weightsOf(info[0]);
  auto result = Napi::BigUint64Array::New(info.Env(), set->size());
  for (size_t i = 0; i < set->size(); i++) result[i] = set->address(i);
  return result;
}

// weightBytes(load) -> number
Napi::Value weightBytes(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(weightsOf(info[0])->deviceBytes()));
}

// importedBytes(load) -> number
Napi::Value importedBytes(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(weightsOf(info[0])->importedBytes()));
}

// gatheredBytes(load) -> number
Napi::Value gatheredBytes(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(weightsOf(info[0])->gatheredBytes()));
}

// The rows that ids name, all in range; -1, no token, is taken for row 0. Throws Failure usage/token-id.
std::vector<int64_t> rowsOf(const Bytes& ids, int64_t rows, bool firstRowBeyond) {
  std::vector<int64_t> result(ids.byteLength / sizeof(int32_t));
  for (size_t i = 0; i < result.size(); i++) {
    int32_t id;
    std::memcpy(&id, ids.data + i * sizeof id, sizeof id);
    if (id == -1) id = 0;
    if (id < 0 || (id >= rows && !firstRowBeyond) || rows == 0) {
      throw Failure("usage/token-id",
                    "Token id " + std::to_string(id) + " is outside the table of " + std::to_string(rows) + " rows.",
                    {{"id", id}, {"rows", rows}});
    }
    result[i] = id < rows ? id : 0;
  }
  return result;
}

// A Gather of src/addon.ts.
HostWrite gatherWrite(const Napi::Object& gather, const std::vector<Bytes>& inputs, const Device& device) {
  const auto set = weightsOf(gather.Get("weights"));
  require(&set->device() == &device, "weights belong to the device");
  require(set->size() > 0 && !inputs.empty(), "a gather has a weight and ids");
  const uint64_t weight = wholeNumber(gather.Get("weight"), set->size() - 1, "a gather names a weight of the set");
  require(set->inHostMemory(weight), "rows are gathered from host memory");
  const Bytes ids = inputs[wholeNumber(gather.Get("ids"), inputs.size() - 1, "a gather names one of the inputs")];
  require(ids.byteLength % sizeof(int32_t) == 0, "ids are i32");
  const std::string beyond = text(gather.Get("beyond"));
  require(beyond == "error" || beyond == "firstRow", "ids past the table are errors or row 0");
  std::vector<int64_t> rows = rowsOf(ids, set->rows(weight), beyond == "firstRow");
  const auto byteLength =
      static_cast<uint64_t>(set->gatheredLayout(weight, static_cast<int64_t>(rows.size())).byteLength);
  auto target = bufferOf(gather.Get("target"), device);
  const uint64_t byteOffset = wholeNumber(gather.Get("byteOffset"), largestWholeNumber, "an offset is a whole number");
  requireInside(*target, byteOffset, byteLength);
  return {std::move(target), byteOffset, byteLength,
          [set, weight, rows = std::move(rows)](uint8_t* to) { set->gather(weight, rows, to); }};
}

// ---------------------------------------------------------------- pipelines and recordings

// createPipelines(device, shaders, constants, subgroupSizes) -> {job, pipelines}
Napi::Value createPipelines(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto host = hostOf(info[0]);
  const auto shaders = list(info[1]);
  const auto constants = list(info[2]);
  const auto sizes = typedArray<Napi::Uint32Array>(info[3], napi_uint32_array, "subgroup sizes are a Uint32Array");
  require(constants.Length() == shaders.Length() && sizes.ElementLength() == shaders.Length(),
          "each pipeline has a shader, constants and a subgroup size");
  std::vector<PipelineRequest> requests(shaders.Length());
  std::vector<std::shared_ptr<Pipeline>> pipelines;
  auto handles = Napi::Array::New(env, shaders.Length());
  for (uint32_t i = 0; i < shaders.Length(); i++) {
    const Bytes shader = bytesOf(Napi::Value(shaders[i]));
    require(shader.byteLength % sizeof(uint32_t) == 0, "a shader is of whole words");
    requests[i].shader.resize(shader.byteLength / sizeof(uint32_t));
    if (shader.byteLength > 0) std::memcpy(requests[i].shader.data(), shader.data, shader.byteLength);
    const auto values =
        typedArray<Napi::Uint32Array>(Napi::Value(constants[i]), napi_uint32_array, "constants are a Uint32Array");
    requests[i].constants.assign(values.Data(), values.Data() + values.ElementLength());
    requests[i].subgroupSize = sizes[i];
    pipelines.push_back(std::make_shared<Pipeline>(host->device()));
    handles[i] = newHandle(env, pipelines.back());
  }
  const uint32_t id = host->jobs().beginInBackground(
      [pipelines = std::move(pipelines), requests = std::move(requests)](const BackgroundJob& job) {
        compilePipelines(pipelines, requests, job.stop);
      });
  auto result = Napi::Object::New(env);
  result["job"] = Napi::Number::New(env, id);
  result["pipelines"] = handles;
  return result;
}

// record(device, pipelines, words, timed) -> recording
Napi::Value record(const Napi::CallbackInfo& info) {
  const auto host = hostOf(info[0]);
  const auto handles = list(info[1]);
  std::vector<std::shared_ptr<Pipeline>> pipelines;
  for (uint32_t i = 0; i < handles.Length(); i++) {
    pipelines.push_back(object<Pipeline>(Napi::Value(handles[i])));
  }
  const auto words = typedArray<Napi::Uint32Array>(info[2], napi_uint32_array, "words are a Uint32Array");
  return newHandle(info.Env(), Recording::make(host->device(), std::move(pipelines), words.Data(),
                                               words.ElementLength(), flag(info[3])));
}

// submit(device, recording, inputs, targets, offsets, holds, gathers) -> job
Napi::Value submit(const Napi::CallbackInfo& info) {
  const auto host = hostOf(info[0]);
  const Device& device = *host->device();
  Work work;
  work.recording = object<Recording>(info[1]);
  require(&work.recording->device() == &device, "a recording belongs to the device");
  const auto inputs = list(info[2]);
  const auto targets = list(info[3]);
  const auto offsets = typedArray<Napi::Float64Array>(info[4], napi_float64_array, "offsets are a Float64Array");
  require(targets.Length() == inputs.Length() && offsets.ElementLength() == inputs.Length(),
          "each input has a target and an offset");
  std::vector<Bytes> data;
  for (uint32_t i = 0; i < inputs.Length(); i++) {
    data.push_back(bytesOf(Napi::Value(inputs[i])));
    work.writes.push_back(hostWrite(bufferOf(Napi::Value(targets[i]), device),
                                    wholeNumber(offsets[i], largestWholeNumber, "an offset is a whole number"),
                                    data.back()));
  }
  const auto holds = list(info[5]);
  for (uint32_t i = 0; i < holds.Length(); i++) {
    const Napi::Value value = holds[i];
    const Handle& handle = anyHandle(value);
    if (handle.holds<BufferCell>()) {
      work.buffers.push_back(bufferOf(value, device));
    } else {
      require(handle.holds<PendingLoad>(), "buffers and weights are held");
      auto set = weightsOf(value);
      work.files.insert(work.files.end(), set->importedFiles().begin(), set->importedFiles().end());
      work.holds.push_back(std::move(set));
    }
  }
  const auto gathers = list(info[6]);
  for (uint32_t i = 0; i < gathers.Length(); i++) {
    const Napi::Value gather = gathers[i];
    require(gather.IsObject(), "a gather is an object");
    work.writes.push_back(gatherWrite(gather.As<Napi::Object>(), data, device));
  }
  return Napi::Number::New(info.Env(),
                           host->jobs().begin([&](uint32_t job) { host->queue().submit(job, std::move(work)); }));
}

// times(device, job) -> Float64Array
Napi::Value times(const Napi::CallbackInfo& info) {
  const auto job = static_cast<uint32_t>(wholeNumber(info[1], UINT32_MAX, "a job is a whole number"));
  const auto [begin, end] = hostOf(info[0])->queue().times(job);
  auto result = Napi::Float64Array::New(info.Env(), 2);
  result[0] = begin;
  result[1] = end;
  return result;
}

// timings(recording) -> Float64Array
Napi::Value timings(const Napi::CallbackInfo& info) {
  const std::vector<double> values = object<Recording>(info[0])->timings();
  auto result = Napi::Float64Array::New(info.Env(), values.size());
  for (size_t i = 0; i < values.size(); i++) result[i] = values[i];
  return result;
}

// Version of the functions between this addon and the TypeScript (`addonConfig` of src/load-addon.ts).
constexpr int addonVersion = 4;

void fill(Napi::Object exports) {
  exports.Env().SetInstanceData(new Environment());
  UNICORN_EXPORT(exports, probe);
  UNICORN_EXPORT(exports, validationMessages);
  UNICORN_EXPORT(exports, openDevice);
  UNICORN_EXPORT(exports, closeDevice);
  UNICORN_EXPORT(exports, budgets);
  UNICORN_EXPORT(exports, allocations);
  UNICORN_EXPORT(exports, pipelineCache);
  UNICORN_EXPORT(exports, dispose);
  UNICORN_EXPORT(exports, allocate);
  UNICORN_EXPORT(exports, importMemory);
  UNICORN_EXPORT(exports, syncBuffer);
  UNICORN_EXPORT(exports, disposeBuffer);
  UNICORN_EXPORT(exports, write);
  UNICORN_EXPORT(exports, copy);
  UNICORN_EXPORT(exports, read);
  UNICORN_EXPORT(exports, loadWeights);
  UNICORN_EXPORT(exports, abortLoad);
  UNICORN_EXPORT(exports, weightAddresses);
  UNICORN_EXPORT(exports, weightBytes);
  UNICORN_EXPORT(exports, importedBytes);
  UNICORN_EXPORT(exports, gatheredBytes);
  UNICORN_EXPORT(exports, createPipelines);
  UNICORN_EXPORT(exports, record);
  UNICORN_EXPORT(exports, submit);
  UNICORN_EXPORT(exports, times);
  UNICORN_EXPORT(exports, timings);
}

}  // namespace
}  // namespace unicorn

UNICORN_ADDON(unicorn::addonVersion, unicorn::fill)
