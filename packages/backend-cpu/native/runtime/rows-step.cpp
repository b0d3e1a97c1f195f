// A chain of row kernels over the rows of one axis: one phase, no barrier inside.

#include <algorithm>
#include <vector>

#include "program.h"
#include "row-kernels.h"

namespace unicorn {
namespace {

struct RowOperand {
  int32_t value;  // -1: absent
  int32_t axis;   // of the rows; -1: none
};

struct ChainLink {
  const RowKernel* kernel;
  std::vector<RowOperand> operands;
  std::vector<int32_t> values;
  std::vector<double> numbers;
};

class RowsStep final : public Step {
 public:
  RowsStep(WordReader& reader, const Program& program) {
    rowDim_ = reader.integer();
    const int64_t links = reader.integer();
    for (int64_t i = 0; i < links; i++) {
      const std::string& name = reader.name();
      ChainLink link{findRowKernel(name), {}, {}, {}};
      if (link.kernel == nullptr) throw Failure("internal/invariant", "There is no row kernel \"" + name + "\".");
      const int64_t operands = reader.integer();
      for (int64_t j = 0; j < operands; j++) {
        const int32_t value = reader.index();
        const int32_t axis = reader.index();
        link.operands.push_back({value, axis});
        link.values.push_back(value);
        if (value < 0 || axis < 0) continue;
        const size_t rank = program.values[static_cast<size_t>(value)].dims.size();
        if (static_cast<size_t>(axis) + 1 != rank) mostRows_ = 16;
      }
      const int64_t numbers = reader.integer();
      for (int64_t j = 0; j < numbers; j++) link.numbers.push_back(reader.number());
      mostOperands_ = std::max(mostOperands_, link.operands.size());
      links_.push_back(std::move(link));
    }
  }

  int prepare(Run&, int) const override { return 1; }

  void phase(Turn& turn) const override {
    const int64_t rows = rowDim_ >= 0 ? rowDim_ : turn.run.symbols[static_cast<size_t>(-rowDim_ - 1)];
    // Several chunks for each member, so that a late one does not hold up the rest; few enough rows that a chunk's
    // intermediates stay in the cache from one kernel to the next.
    const int64_t chunk = std::clamp<int64_t>(rows / (turn.run.members() * 4), 1, mostRows_);
    std::vector<RowView> views(mostOperands_);
    int64_t begin, end;
    while (turn.claim(rows, chunk, begin, end)) {
      for (const ChainLink& link : links_) {
        for (size_t i = 0; i < link.operands.size(); i++) views[i] = view(turn.run, link.operands[i]);
        link.kernel->run({turn.run, views.data(), static_cast<int>(link.operands.size()), link.values.data(),
                          link.numbers, turn.scratch()},
                         begin, end);
      }
    }
  }

  int64_t memberBytes(const Program& program) const override {
    // Two decoded lines of the widest operand: what broadcasting of other types than f32 takes.
    int64_t widest = 0, asked = 0;
    for (const ChainLink& link : links_) {
      if (link.kernel->scratchBytes != nullptr) {
        asked = std::max(asked, link.kernel->scratchBytes(program, link.values));
      }
      for (const RowOperand& operand : link.operands) {
        if (operand.value < 0) continue;
        const auto& dims = program.values[static_cast<size_t>(operand.value)].dims;
        if (!dims.empty()) widest = std::max(widest, program.maximumDim(operand.value, dims.size() - 1));
      }
    }
    return std::max<int64_t>(asked, 2 * 4 * ((widest + 15) / 16 * 16));
  }
  int64_t sharedBytes(const Program&) const override { return 0; }

 private:
  static RowView view(Run& run, const RowOperand& operand) {
    if (operand.value < 0) return {nullptr, false, -1, 1, 1, 1};
    const Tensor& tensor = run.tensor(operand.value);
    if (operand.axis < 0) return {&tensor, false, -1, 1, 1, tensor.elements()};
    const int axis = operand.axis;
    return {&tensor,
            true,
            axis,
            tensor.product(0, axis),
            tensor.dims[static_cast<size_t>(axis)],
            tensor.product(axis + 1, tensor.rank)};
  }

  int64_t rowDim_;  // negative: symbol -rowDim - 1
  std::vector<ChainLink> links_;
  size_t mostOperands_ = 0;
  int64_t mostRows_ = 256;  // of a chunk; fewer unless a row is one element of each line, as a column is
};

}  // namespace

std::unique_ptr<Step> readRowsStep(WordReader& reader, const Program& program) {
  return std::make_unique<RowsStep>(reader, program);
}

}  // namespace unicorn
