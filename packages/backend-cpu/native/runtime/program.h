// A compiled graph: values, the steps over them, and what they need. Read from the words that `src/lowering/encode.ts`
// writes; the two files change together. A program is immutable and knows no thread; `Run` is one execution of it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <unicorn/failure.h>

#include "../kernels/kernels.h"
#include "memory.h"
#include "tensor.h"
#include "thread-pool.h"
#include "weight-set.h"

namespace unicorn {

class WordReader {
 public:
  WordReader(const double* words, size_t count, const std::vector<std::string>& names)
      : words_(words), count_(count), names_(names) {}

  double number() {
    require(at_ < count_, "the program ends early");
    return words_[at_++];
  }
  int64_t integer() { return static_cast<int64_t>(number()); }
  int32_t index() { return static_cast<int32_t>(number()); }
  bool flag() { return number() != 0; }
  const std::string& name() { return names_.at(static_cast<size_t>(integer())); }
  bool ended() const { return at_ == count_; }

 private:
  const double* words_;
  size_t count_;
  size_t at_ = 0;
  const std::vector<std::string>& names_;
};

enum class Space : int32_t { arena, binding, constant, weight };

// A number of bytes that may depend on symbolic dims: coefficient * product of the symbols.
struct Monomial {
  int64_t coefficient;
  std::vector<int32_t> symbols;
};

struct Value {
  Space space;
  int32_t index;  // binding, or weight
  std::vector<Monomial> offset;
  DType dtype;
  std::vector<int64_t> dims;  // negative: symbol -dim - 1
  bool isMatrix = false;
  Matrix matrix;                   // a weight that matmul or embed reads
  const uint8_t* fixed = nullptr;  // a constant, or a weight that is read as a plain tensor
};

class Program;
class Run;
struct Turn;

// One entry of the fused plan. Every member of the pool runs every phase; a barrier follows each.
class Step {
 public:
  virtual ~Step() = default;
  // Phases of this execution: the same answer on every member. Called once by each member before phase 0.
  virtual int prepare(Run& run, int member) const = 0;
  virtual void phase(Turn& turn) const = 0;
  // Bytes that each member needs for itself, and that all share during the step (at the largest dims).
  virtual int64_t memberBytes(const Program& program) const = 0;
  virtual int64_t sharedBytes(const Program& program) const = 0;

  static constexpr int maxPhases = 2;
};

struct ProfileCounter {
  double seconds = 0;
  int64_t calls = 0;
};

class Program {
 public:
  // A weight's index counts through the sets, in their order. Throws Failure format/truncated, format/changed, device/io
  // like `expectIntact`.
  Program(std::vector<std::shared_ptr<WeightSet>> sets, const Kernels& kernels, int threads, WordReader reader,
          std::vector<uint8_t> constants);

  const Kernels& kernels;
  const int threads;
  bool profiled = false;
  size_t symbolCount = 0;
  size_t bindingCount = 0;
  int64_t arenaBytes = 0;
  int64_t memberBytes = 0;  // of each member
  int64_t sharedBytes = 0;
  std::vector<int64_t> maximumDims;
  std::vector<Value> values;
  std::vector<std::unique_ptr<Step>> steps;

  mutable std::mutex profileMutex;
  mutable std::vector<ProfileCounter> profile;

  // Throws the failure of a file that was no longer what it should be when weights were read from its mapping: format/truncated,
  // format/changed, device/io. For whoever has run the program.
  void expectIntact() const;

  // Dims of a value under the given symbols.
  static int64_t dim(const Value& value, size_t axis, const std::vector<int64_t>& symbols);
  // Product of all axes but the last, and the last, at the largest dims.
  int64_t maximumRows(int32_t value) const;
  int64_t maximumDim(int32_t value, size_t axis) const;
  const Matrix& matrix(int32_t value) const { return values.at(static_cast<size_t>(value)).matrix; }

 private:
  void readValue(WordReader& reader);
  void readWeight(WordReader& reader, Value& value);
  void readPlainWeight(Value& value, const Weight& weight, const int64_t (&view)[4], bool asFloats);
  const Weight& weightAt(size_t index) const;

  std::vector<std::shared_ptr<WeightSet>> sets_;
  std::vector<const MappedFile*> files_;  // that its weights lie in; the sets hold them
  std::vector<uint8_t> constants_;
  std::vector<std::shared_ptr<Pages>> decoded_;
};

// The memory that programs of one device use in turn.
struct Workspace {
  std::shared_ptr<Pages> arena;
  std::shared_ptr<Pages> shared;
  std::shared_ptr<Pages> members;
  int64_t memberStride = 0;

  void reserve(const Program& program);
};

// A plan of attention that the layers of one execution share. Each member has its own list, so that none waits.
struct CachedAttentionPlan {
  Attention key;
  std::vector<AttentionTile> tiles;
  AttentionPlan plan;
  AttentionFault fault;
  int64_t faultRow;
};

// How many items of a member's own part of a phase are taken, by itself or by members that had less to do.
struct alignas(64) ClaimCounter {
  std::atomic<int64_t> taken{0};
};

class Run {
 public:
  // `members`: how many of the pool work; results do not depend on it. `stop`: ends the run with device/closed.
  Run(const Program& program, ThreadPool& pool, int members, Workspace& workspace, const std::vector<int64_t>& symbols,
      const std::vector<uint8_t*>& bindings, const std::atomic<bool>& stop);

  // Returns what `ThreadPool::run` does. Throws the Failure of the first phase that failed.
  double execute();

  const Program& program;
  const std::vector<int64_t>& symbols;
  const Kernels& kernels;

  const Tensor& tensor(int32_t value) const { return tensors_[static_cast<size_t>(value)]; }
  const Matrix& matrix(int32_t value) const { return program.values[static_cast<size_t>(value)].matrix; }
  bool isMatrix(int32_t value) const { return program.values[static_cast<size_t>(value)].isMatrix; }
  int members() const { return members_; }

  uint8_t* memberScratch(int member) const {
    return workspace_.members->data() + static_cast<size_t>(member) * static_cast<size_t>(workspace_.memberStride);
  }
  uint8_t* sharedScratch() const { return workspace_.shared->data(); }
  std::vector<CachedAttentionPlan>& attentionPlans(int member) { return attentionPlans_[static_cast<size_t>(member)]; }

 private:
  void work(int member);
  void fail(int64_t phase, Failure failure);

  ThreadPool& pool_;
  const int members_;
  Workspace& workspace_;
  // Three sets, one counter a member in each, used by the phases in turn: during one phase each member clears its own
  // counter of the next set, which nobody has used since the barrier before the last.
  static constexpr size_t counterSets = 3;
  std::unique_ptr<ClaimCounter[]> counters_;
  const std::atomic<bool>& stop_;
  std::vector<Tensor> tensors_;
  std::vector<std::vector<CachedAttentionPlan>> attentionPlans_;
  std::atomic<int64_t> failedPhase_;
  std::mutex failureMutex_;
  std::optional<Failure> failure_;
};

// One member's part in one phase.
struct Turn {
  Run& run;
  const int member;
  const int phase;
  ClaimCounter* counters;  // of this phase, one for each member
  int stolen = 0;          // members whose parts were looked at, this one's first

  // The next range of at most `chunk` of `total` items; false when all are taken. Each member has a contiguous part of
  // the items and takes it in order, since memory is read fastest that way; then it helps the others with theirs. Call
  // it with the same `total` and `chunk` throughout a phase.
  bool claim(int64_t total, int64_t chunk, int64_t& begin, int64_t& end) {
    const int members = run.members();
    for (; stolen < members; stolen++) {
      const int victim = (member + stolen) % members;
      const int64_t first = total * victim / members;
      const int64_t last = total * (victim + 1) / members;
      std::atomic<int64_t>& taken = counters[victim].taken;
      if (first + taken.load(std::memory_order_relaxed) >= last) continue;
      begin = first + taken.fetch_add(chunk, std::memory_order_relaxed);
      if (begin >= last) continue;
      end = begin + chunk < last ? begin + chunk : last;
      return true;
    }
    return false;
  }
  uint8_t* scratch() const { return run.memberScratch(member); }
};

// Steps by their name in the words.
std::unique_ptr<Step> readRowsStep(WordReader& reader, const Program& program);
std::unique_ptr<Step> readMatmulStep(WordReader& reader, const Program& program);
std::unique_ptr<Step> readAttentionStep(WordReader& reader, const Program& program);
std::unique_ptr<Step> readSampleStep(WordReader& reader, const Program& program);

}  // namespace unicorn
