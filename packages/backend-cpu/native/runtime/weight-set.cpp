#include "weight-set.h"

#include <algorithm>
#include <exception>
#include <functional>
#include <mutex>

#include <unicorn/failure.h>

namespace unicorn {
namespace {

// Source bytes of one task: enough to hide the cost of claiming it and of the calls into the system, and little enough
// that progress is smooth and the source pages that are resident at a time are few.
constexpr int64_t taskBytes = 4 << 20;

// Packed bytes up to which `automatic` packs. Two cores (AMD EPYC, Zen 4) pack some 10 GB/s into memory that was touched
// before; fresh pages cost 0.1 to 0.75 s a gigabyte more there. So this is a quarter of a second in a good case and about
// one in a bad one, while mapping costs some 0.07 s a gigabyte. A token that reads mapped weights takes up to a fifth
// longer: at 30 GB/s that is 7 ms for this size, so that packing is repaid by some forty tokens in the good case.
constexpr uint64_t automaticPackedBytes = uint64_t{1} << 30;

// Packs groups of a matrix, or maps the pages of its rows.
struct Task {
  size_t weight;
  int64_t groupBegin, groupEnd;
};

size_t align64(size_t bytes) { return (bytes + 63) / 64 * 64; }

bool hasPackedForm(const WeightRequest& request) {
  return request.mayPack && packable(request.dtype, request.rows, request.columns);
}

bool readsInPlace(const WeightRequests& requests) {
  if (requests.placement != WeightPlacement::automatic) return requests.placement == WeightPlacement::mapped;
  uint64_t bytes = 0;
  for (const WeightRequest& request : requests.entries) {
    if (request.path < 0 || !hasPackedForm(request)) continue;
    bytes += static_cast<uint64_t>(packedBytes(request.dtype, request.rows, request.columns));
  }
  return bytes > automaticPackedBytes;
}

}  // namespace

std::shared_ptr<WeightSet> WeightSet::load(const WeightRequests& requests, const Kernels& kernels, ThreadPool& pool,
                                           const Progress& progress) {
  auto set = std::make_shared<WeightSet>();
  for (const std::string& path : requests.paths) set->files_.push_back(MappedFile::open(path));

  // The offset of each matrix in the one packed allocation.
  std::vector<size_t> packedOffsets(requests.entries.size());
  size_t packedTotal = 0;
  uint64_t loaded = 0;
  std::vector<Task> tasks;
  const bool inPlace = readsInPlace(requests);
  for (size_t i = 0; i < requests.entries.size(); i++) {
    const WeightRequest& request = requests.entries[i];
    const int64_t stride = rowBytes(request.dtype, request.columns);
    require(request.rows >= 0 && static_cast<uint64_t>(stride * request.rows) == request.byteLength,
            "the bytes of a weight follow from its shape");
    const bool inFile = request.path >= 0;
    const MappedFile* file = inFile ? set->files_.at(static_cast<size_t>(request.path)).get() : nullptr;
    const uint8_t* source;
    if (inFile) {
      file->expectRange(request.offset, request.byteLength, request.name);
      source = file->data() + request.offset;
    } else {
      source = request.bytes->data();
    }
    const WeightForm form = !hasPackedForm(request) ? WeightForm::raw
                            : inFile && inPlace     ? WeightForm::inPlace
                                                    : WeightForm::packed;
    if (form == WeightForm::packed) {
      packedOffsets[i] = packedTotal;
      packedTotal += align64(static_cast<size_t>(packedBytes(request.dtype, request.rows, request.columns)));
    } else if (!inFile) {
      set->pages_.push_back(request.bytes);
    }
    // A matrix in a file is read from end to end for every token, so its pages are mapped now; tables whose rows are
    // gathered (`mayPack` is false) are left alone.
    if (form == WeightForm::packed || (inFile && request.mayPack)) {
      const int64_t groups = groupCount(request.rows);
      const int64_t step = std::max<int64_t>(1, taskBytes / std::max<int64_t>(1, stride * groupRows));
      for (int64_t group = 0; group < groups; group += step) {
        tasks.push_back({i, group, std::min(groups, group + step)});
      }
    } else {
      loaded += request.byteLength;
    }
    set->weights_.push_back({request.dtype, request.rows, request.columns, form, source, stride, file});
  }
  auto memory = Pages::allocate(packedTotal, true);
  set->pages_.push_back(memory);
  for (const auto& pages : set->pages_) set->ownedBytes_ += pages->byteLength();

  std::atomic<size_t> next{0};
  std::atomic<uint64_t> done{loaded};
  uint64_t reported = 0;
  pool.run(pool.threads(), [&](int member) {
    for (;;) {
      const size_t at = next.fetch_add(1);
      if (at >= tasks.size() || progress.abort->load(std::memory_order_relaxed)) return;
      const Task& task = tasks[at];
      const WeightRequest& request = requests.entries[task.weight];
      const Weight& weight = set->weights_[task.weight];
      const int64_t rowBegin = task.groupBegin * groupRows;
      const int64_t rows = std::min(request.rows, task.groupEnd * groupRows) - rowBegin;
      const auto bytes = static_cast<uint64_t>(rows * weight.rowStrideBytes);
      const MappedFile* file = request.path < 0 ? nullptr : set->files_[static_cast<size_t>(request.path)].get();
      const size_t offset = static_cast<size_t>(request.offset) + static_cast<size_t>(rowBegin * weight.rowStrideBytes);
      if (file != nullptr) file->populate(offset, bytes);
      if (weight.form == WeightForm::packed) {
        kernels.pack(request.dtype, weight.data, weight.rowStrideBytes, request.rows, request.columns, task.groupBegin,
                     task.groupEnd, memory->data() + packedOffsets[task.weight]);
        if (file != nullptr) file->forget(offset, bytes);
      }
      const uint64_t total = done.fetch_add(bytes) + bytes;
      // Only member 0 reports, so that reports ascend; taskBytes bounds their number and the caller thins them out.
      if (member == 0 && total - reported >= uint64_t{4} << 20) {
        reported = total;
        progress.report(total);
      }
    }
  });
  if (progress.abort->load()) throw Failure("usage/cancelled", "Loading was cancelled.");
  for (const auto& file : set->files_) file->expectIntact();
  for (size_t i = 0; i < set->weights_.size(); i++) {
    Weight& weight = set->weights_[i];
    if (weight.form != WeightForm::packed) continue;
    weight.data = memory->data() + packedOffsets[i];
    weight.file = nullptr;
  }
  // A file that nothing is read from any more may change as it likes.
  const auto isRead = [&](const std::shared_ptr<MappedFile>& file) {
    return std::any_of(set->weights_.begin(), set->weights_.end(),
                       [&](const Weight& weight) { return weight.file == file.get(); });
  };
  set->files_.erase(std::remove_if(set->files_.begin(), set->files_.end(), std::not_fn(isRead)), set->files_.end());
  return set;
}

}  // namespace unicorn
