#include "program.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>

namespace unicorn {
namespace {

constexpr int64_t noFailure = std::numeric_limits<int64_t>::max();

int64_t align64(int64_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace

// ---------------------------------------------------------------- reading

Program::Program(std::vector<std::shared_ptr<WeightSet>> sets, const Kernels& kernels, int threads, WordReader reader,
                 std::vector<uint8_t> constants)
    : kernels(kernels), threads(threads), sets_(std::move(sets)), constants_(std::move(constants)) {
  profiled = reader.flag();
  symbolCount = static_cast<size_t>(reader.integer());
  for (size_t i = 0; i < symbolCount; i++) maximumDims.push_back(reader.integer());
  bindingCount = static_cast<size_t>(reader.integer());
  arenaBytes = reader.integer();
  const int64_t valueCount = reader.integer();
  for (int64_t i = 0; i < valueCount; i++) readValue(reader);
  const int64_t stepCount = reader.integer();
  for (int64_t i = 0; i < stepCount; i++) {
    const std::string& kind = reader.name();
    if (kind == "rows") {
      steps.push_back(readRowsStep(reader, *this));
    } else if (kind == "matmul") {
      steps.push_back(readMatmulStep(reader, *this));
    } else if (kind == "attention") {
      steps.push_back(readAttentionStep(reader, *this));
    } else if (kind == "sample") {
      steps.push_back(readSampleStep(reader, *this));
    } else {
      throw Failure("internal/invariant", "There is no step of the kind \"" + kind + "\".");
    }
    memberBytes = std::max(memberBytes, align64(steps.back()->memberBytes(*this)));
    sharedBytes = std::max(sharedBytes, align64(steps.back()->sharedBytes(*this)));
  }
  require(reader.ended(), "the program has no words left over");
  profile.resize(steps.size());
  expectIntact();
}

void Program::expectIntact() const {
  for (const MappedFile* file : files_) file->expectIntact();
}

void Program::readValue(WordReader& reader) {
  Value value;
  const std::string& space = reader.name();
  value.space = space == "arena"      ? Space::arena
                : space == "binding"  ? Space::binding
                : space == "constant" ? Space::constant
                                      : Space::weight;
  value.index = reader.index();
  const int64_t terms = reader.integer();
  for (int64_t i = 0; i < terms; i++) {
    Monomial term{reader.integer(), {}};
    const int64_t symbols = reader.integer();
    for (int64_t j = 0; j < symbols; j++) term.symbols.push_back(reader.index());
    value.offset.push_back(std::move(term));
  }
  value.dtype = static_cast<DType>(reader.integer());
  const int64_t rank = reader.integer();
  require(rank <= maxRank, "a tensor has at most eight axes");
  for (int64_t i = 0; i < rank; i++) value.dims.push_back(reader.integer());
  if (value.space == Space::constant) {
    require(value.offset.size() == 1 && static_cast<size_t>(value.offset[0].coefficient) <= constants_.size(),
            "a constant lies inside the constants");
    value.fixed = constants_.data() + value.offset[0].coefficient;
  }
  if (value.space == Space::weight) readWeight(reader, value);
  values.push_back(std::move(value));
}

const Weight& Program::weightAt(size_t index) const {
  for (const auto& set : sets_) {
    if (index < set->size()) return set->at(index);
    index -= set->size();
  }
  throw Failure("internal/invariant", "A weight lies inside the sets.");
}

void Program::readWeight(WordReader& reader, Value& value) {
  const Weight& weight = weightAt(static_cast<size_t>(value.index));
  if (weight.file != nullptr && std::find(files_.begin(), files_.end(), weight.file) == files_.end()) {
    files_.push_back(weight.file);
  }
  const std::string& use = reader.name();
  const int64_t view[4] = {reader.integer(), reader.integer(), reader.integer(), reader.integer()};
  const auto [rowStart, rows, columnStart, columns] = view;
  require(rowStart >= 0 && rows >= 0 && rowStart + rows <= weight.rows && columnStart >= 0 && columns >= 0 &&
              columnStart + columns <= weight.columns,
          "a view lies inside its weight");
  if (use != "matrix") {
    readPlainWeight(value, weight, view, use == "floats");
    return;
  }
  Matrix& matrix = value.matrix;
  value.isMatrix = true;
  matrix.dtype = weight.dtype;
  matrix.form = weight.form;
  matrix.rows = rows;
  matrix.columns = columns;
  matrix.storedColumns = weight.columns;
  matrix.rowStrideBytes = weight.rowStrideBytes;
  const int64_t block = packedBlockSize(weight.dtype);
  require(weight.form == WeightForm::raw || (columnStart % block == 0 && columns % block == 0),
          "a view of a weight for int8 products cuts no block");
  if (weight.form != WeightForm::packed) {
    matrix.data = weight.data + rowStart * weight.rowStrideBytes + rowBytes(weight.dtype, columnStart);
    return;
  }
  // Column blocks of a group lie back to back, so a view may also begin at a later one.
  matrix.data = weight.data + rowStart / groupRows * packedGroupBytes(weight.dtype, weight.columns) +
                columnStart / block * packedGroupBytes(weight.dtype, block);
  matrix.rowShift = rowStart % groupRows;
}

// A weight as an ordinary operand: in place where it is dense, aligned and of the wanted type, else a copy.
void Program::readPlainWeight(Value& value, const Weight& weight, const int64_t (&view)[4], bool asFloats) {
  const auto [rowStart, rows, columnStart, columns] = view;
  const bool decode = asFloats && weight.dtype != DType::f32;
  const bool raw = weight.form != WeightForm::packed;
  require(raw || asFloats, "a packed weight is read as floats");
  if (raw && !decode && (columns == weight.columns || rows == 1)) {
    const uint8_t* data = weight.data + rowStart * weight.rowStrideBytes + rowBytes(weight.dtype, columnStart);
    const auto alignment = static_cast<uintptr_t>(std::min(dtypeLayout(weight.dtype).blockBytes, 8));
    if (dtypeLayout(weight.dtype).blockSize > 1 || reinterpret_cast<uintptr_t>(data) % alignment == 0) {
      value.fixed = data;
      return;
    }
  }
  const DType dtype = asFloats ? DType::f32 : weight.dtype;
  const int64_t outBytes = rowBytes(dtype, columns);
  auto pages = Pages::allocate(static_cast<size_t>(rows * outBytes));
  std::vector<float> line(static_cast<size_t>(weight.columns));
  for (int64_t row = 0; row < rows; row++) {
    uint8_t* out = pages->data() + row * outBytes;
    if (raw && !decode) {
      std::memcpy(out, weight.data + (rowStart + row) * weight.rowStrideBytes + rowBytes(weight.dtype, columnStart),
                  static_cast<size_t>(outBytes));
      continue;
    }
    if (raw) {
      decodeRow(weight.dtype, weight.data + (rowStart + row) * weight.rowStrideBytes, weight.columns, line.data());
    } else {
      decodePackedRow(weight.dtype, weight.data, weight.columns, rowStart + row, weight.columns, line.data());
    }
    std::memcpy(out, line.data() + columnStart, static_cast<size_t>(outBytes));
  }
  value.dtype = dtype;
  value.fixed = pages->data();
  decoded_.push_back(std::move(pages));
}

int64_t Program::dim(const Value& value, size_t axis, const std::vector<int64_t>& symbols) {
  const int64_t dim = value.dims.at(axis);
  return dim >= 0 ? dim : symbols.at(static_cast<size_t>(-dim - 1));
}

int64_t Program::maximumDim(int32_t value, size_t axis) const {
  return dim(values.at(static_cast<size_t>(value)), axis, maximumDims);
}

int64_t Program::maximumRows(int32_t value) const {
  const size_t rank = values.at(static_cast<size_t>(value)).dims.size();
  int64_t rows = 1;
  for (size_t axis = 0; axis + 1 < rank; axis++) rows *= maximumDim(value, axis);
  return rows;
}

// ---------------------------------------------------------------- running

void Workspace::reserve(const Program& program) {
  const auto grow = [](std::shared_ptr<Pages>& pages, int64_t bytes) {
    if (!pages || pages->byteLength() < static_cast<size_t>(bytes)) {
      pages.reset();
      pages = Pages::allocate(static_cast<size_t>(bytes), true);
    }
  };
  grow(arena, program.arenaBytes);
  grow(shared, program.sharedBytes);
  if (!members || memberStride < program.memberBytes) {
    // An odd number of cache lines apart, so that the members' scratch does not fall into the same cache sets.
    memberStride = ((program.memberBytes + 63) / 64 | 1) * 64;
    grow(members, memberStride * program.threads);
  }
}

Run::Run(const Program& program, ThreadPool& pool, int members, Workspace& workspace,
         const std::vector<int64_t>& symbols, const std::vector<uint8_t*>& bindings, const std::atomic<bool>& stop)
    : program(program),
      symbols(symbols),
      kernels(program.kernels),
      pool_(pool),
      members_(members),
      workspace_(workspace),
      counters_(std::make_unique<ClaimCounter[]>(counterSets * static_cast<size_t>(members))),
      stop_(stop),
      tensors_(program.values.size()),
      attentionPlans_(static_cast<size_t>(members)),
      failedPhase_(noFailure) {
  for (size_t i = 0; i < tensors_.size(); i++) {
    const Value& value = program.values[i];
    Tensor& tensor = tensors_[i];
    tensor.dtype = value.dtype;
    tensor.rank = static_cast<int>(value.dims.size());
    for (size_t axis = 0; axis < value.dims.size(); axis++) tensor.dims[axis] = Program::dim(value, axis, symbols);
    if (value.fixed != nullptr) {
      tensor.data = const_cast<uint8_t*>(value.fixed);
      continue;
    }
    if (value.isMatrix) continue;
    tensor.data = value.space == Space::arena ? workspace.arena->data() : bindings[static_cast<size_t>(value.index)];
    for (const Monomial& term : value.offset) {
      int64_t bytes = term.coefficient;
      for (const int32_t symbol : term.symbols) bytes *= symbols[static_cast<size_t>(symbol)];
      tensor.data += bytes;
    }
  }
}

double Run::execute() {
  const double lostMs = pool_.run(members_, [this](int member) { work(member); });
  if (failure_) throw *failure_;
  return lostMs;
}

void Run::fail(int64_t phase, Failure failure) {
  std::lock_guard<std::mutex> lock(failureMutex_);
  if (phase >= failedPhase_.load()) return;
  failure_ = std::move(failure);
  failedPhase_.store(phase);
}

void Run::work(int member) {
  using Clock = std::chrono::steady_clock;
  const bool timing = program.profiled && member == 0;
  std::vector<double> seconds(timing ? program.steps.size() : 0);
  int64_t done = 0;
  const auto members = static_cast<size_t>(members_);
  size_t index = 0;  // of the phase, over all steps
  for (size_t i = 0; i < program.steps.size(); i++) {
    const auto begin = timing ? Clock::now() : Clock::time_point();
    const Step& step = *program.steps[i];
    const int phases = step.prepare(*this, member);
    for (int phase = 0; phase < phases; phase++) {
      ClaimCounter* next = &counters_[(index + 1) % counterSets * members];
      next[member].taken.store(0, std::memory_order_relaxed);
      Turn turn{*this, member, phase, &counters_[index % counterSets * members]};
      try {
        // One member asks for all: it must not end while others wait for it at the barrier.
        if (member == 0 && stop_.load(std::memory_order_relaxed)) {
          throw Failure("device/closed", "The device was closed during this submission.", {}, {{"device", "cpu"}});
        }
        step.phase(turn);
      } catch (const Failure& failure) {
        fail(static_cast<int64_t>(index), failure);
      } catch (const std::exception& error) {
        fail(static_cast<int64_t>(index), Failure("internal/native", error.what()));
      }
      pool_.barrier(member);
      // A member that is already in the next phase may have failed there: only failures up to here are seen by all.
      if (failedPhase_.load() <= static_cast<int64_t>(index)) return;
      index++;
    }
    if (timing) {
      seconds[i] = std::chrono::duration<double>(Clock::now() - begin).count();
      done++;
    }
  }
  if (timing) {
    std::lock_guard<std::mutex> lock(program.profileMutex);
    for (int64_t i = 0; i < done; i++) {
      program.profile[static_cast<size_t>(i)].seconds += seconds[static_cast<size_t>(i)];
      program.profile[static_cast<size_t>(i)].calls++;
    }
  }
}

}  // namespace unicorn
