#include "weight-set.h"

#include <algorithm>
#include <exception>
#include <mutex>

#include "failure.h"

namespace unicorn {
namespace {

// Source bytes of one packing task: enough to hide the cost of claiming it, and little enough that progress is smooth
// and the source pages that are resident at a time are few.
constexpr int64_t taskBytes = 1 << 20;

struct PackTask {
  size_t weight;
  int64_t groupBegin, groupEnd;
};

size_t align64(size_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace

std::shared_ptr<WeightSet> WeightSet::load(const WeightRequests& requests, ThreadPool& pool, const Progress& progress) {
  auto set = std::make_shared<WeightSet>();
  for (const std::string& path : requests.paths) set->files_.push_back(MappedFile::open(path));

  // Where each matrix lies in the one packed allocation.
  std::vector<size_t> packedOffsets(requests.entries.size());
  size_t packedTotal = 0;
  uint64_t loaded = 0;
  std::vector<PackTask> tasks;
  std::vector<const uint8_t*> sources;
  for (size_t i = 0; i < requests.entries.size(); i++) {
    const WeightRequest& request = requests.entries[i];
    const int64_t stride = rowBytes(request.dtype, request.columns);
    require(request.rows >= 0 && static_cast<uint64_t>(stride * request.rows) == request.byteLength,
            "the bytes of a weight follow from its shape");
    const uint8_t* source;
    if (request.path >= 0) {
      const MappedFile& file = *set->files_.at(static_cast<size_t>(request.path));
      if (request.offset > file.byteLength() || request.byteLength > file.byteLength() - request.offset) {
        throw Failure("format/truncated",
                      file.path() + " ends inside the tensor \"" + request.name + "\".",
                      {{"offset", static_cast<int64_t>(file.byteLength())},
                       {"needed", static_cast<int64_t>(request.offset + request.byteLength)}},
                      {{"file", file.path()}, {"field", request.name}})
            .withFix("Download the file again.");
      }
      source = file.data() + request.offset;
    } else {
      source = request.bytes->data();
    }
    sources.push_back(source);
    const bool packed = request.mayPack && packable(request.dtype, request.rows, request.columns);
    if (packed) {
      packedOffsets[i] = packedTotal;
      packedTotal += align64(static_cast<size_t>(packedBytes(request.dtype, request.rows, request.columns)));
      const int64_t groups = groupCount(request.rows);
      const int64_t step = std::max<int64_t>(1, taskBytes / std::max<int64_t>(1, stride * groupRows));
      for (int64_t group = 0; group < groups; group += step) {
        tasks.push_back({i, group, std::min(groups, group + step)});
      }
    } else {
      if (request.path < 0) set->pages_.push_back(request.bytes);
      loaded += request.byteLength;
    }
    set->weights_.push_back(
        {request.dtype, request.rows, request.columns, packed ? WeightForm::packed : WeightForm::raw, source, stride});
  }
  auto memory = Pages::allocate(packedTotal, true);
  set->pages_.push_back(memory);
  for (const auto& pages : set->pages_) set->ownedBytes_ += pages->byteLength();

  std::atomic<size_t> next{0};
  std::atomic<uint64_t> done{loaded};
  uint64_t reported = 0;
  pool.run([&](int member) {
    for (;;) {
      const size_t at = next.fetch_add(1);
      if (at >= tasks.size() || progress.abort->load(std::memory_order_relaxed)) return;
      const PackTask& task = tasks[at];
      const WeightRequest& request = requests.entries[task.weight];
      const int64_t stride = rowBytes(request.dtype, request.columns);
      packGroups(request.dtype, sources[task.weight], stride, request.rows, request.columns, task.groupBegin,
                 task.groupEnd, memory->data() + packedOffsets[task.weight]);
      const int64_t rowBegin = task.groupBegin * groupRows;
      const int64_t rows = std::min(request.rows, task.groupEnd * groupRows) - rowBegin;
      if (request.path >= 0) {
        set->files_[static_cast<size_t>(request.path)]->forget(
            static_cast<size_t>(request.offset) + static_cast<size_t>(rowBegin * stride),
            static_cast<size_t>(rows * stride));
      }
      const uint64_t bytes = done.fetch_add(static_cast<uint64_t>(rows * stride)) + static_cast<uint64_t>(rows * stride);
      // Only member 0 reports, so that reports ascend; taskBytes bounds their number and the caller thins them out.
      if (member == 0 && bytes - reported >= uint64_t{4} << 20) {
        reported = bytes;
        progress.report(bytes);
      }
    }
  });
  if (progress.abort->load()) throw Failure("usage/cancelled", "Loading was cancelled.");
  for (size_t i = 0; i < set->weights_.size(); i++) {
    Weight& weight = set->weights_[i];
    if (weight.form == WeightForm::packed) weight.data = memory->data() + packedOffsets[i];
  }
  return set;
}

}  // namespace unicorn
