// Attention over a paged KV state: plans its tasks (each member for itself, shared by the layers that read the same
// positions and tables), then the kernel's one or two phases.

#include <algorithm>
#include <cstring>

#include "program.h"

namespace unicorn {
namespace {

constexpr int32_t absent = -1;

// The number of plans that a member remembers: layers alternate between a few windows and pools.
constexpr size_t plansKept = 4;

bool samePlan(const Attention& a, const Attention& b) {
  return a.stateBlocks == b.stateBlocks && a.rows == b.rows && a.heads == b.heads && a.kvHeads == b.kvHeads &&
         a.headDim == b.headDim && a.blockTokens == b.blockTokens && a.positions == b.positions &&
         a.starts == b.starts && a.blockTables == b.blockTables && a.reach == b.reach && a.sequences == b.sequences &&
         a.tableColumns == b.tableColumns && a.window == b.window && a.stateDType == b.stateDType;
}

class AttentionStep final : public Step {
 public:
  AttentionStep(WordReader& reader, const Program& program) {
    query_ = reader.index();
    state_ = reader.index();
    positions_ = reader.index();
    starts_ = reader.index();
    blocks_ = reader.index();
    reach_ = reader.index();
    out_ = reader.index();
    scale_ = static_cast<float>(reader.number());
    window_ = reader.integer();
    softcap_ = static_cast<float>(reader.number());
    // A computed operand may change under an equal address, so its plan cannot be remembered.
    for (const int32_t value : {positions_, starts_, blocks_, reach_}) {
      cacheable_ &= value == absent || program.values[static_cast<size_t>(value)].space != Space::arena;
    }
  }

  int prepare(Run& run, int member) const override {
    const CachedAttentionPlan& cached = plan(run, member);
    return cached.fault == AttentionFault::none && cached.plan.mergeCount > 0 ? 2 : 1;
  }

  void phase(Turn& turn) const override {
    const CachedAttentionPlan& cached = turn.run.attentionPlans(turn.member).back();
    const Attention call = describe(turn.run);
    if (cached.fault != AttentionFault::none) throw failure(call, cached);
    const AttentionPlan& plan = cached.plan;
    int64_t begin, end;
    const int64_t tasks = turn.phase == 0 ? plan.taskCount : plan.mergeCount;
    const auto kernel = turn.phase == 0 ? turn.run.kernels.attention : turn.run.kernels.attentionMerge;
    while (turn.claim(tasks, 1, begin, end)) {
      kernel(call, plan, begin, end, turn.scratch(), turn.run.sharedScratch());
    }
  }

  int64_t memberBytes(const Program& program) const override {
    return attentionScratchBytesBound(program.maximumDim(query_, 1), program.maximumDim(state_, 2),
                                      program.maximumDim(query_, 2));
  }

  int64_t sharedBytes(const Program& program) const override {
    return attentionPartialBytesBound(program.maximumDim(query_, 0), program.maximumDim(query_, 1),
                                      program.maximumDim(query_, 2),
                                      program.maximumDim(blocks_, 1) * program.maximumDim(state_, 3));
  }

 private:
  Attention describe(const Run& run) const {
    const Tensor& query = run.tensor(query_);
    const Tensor& state = run.tensor(state_);
    const Tensor& blocks = run.tensor(blocks_);
    Attention call{};
    call.query = query.floats();
    call.state = state.data;
    call.stateDType = state.dtype;
    call.stateBlocks = state.dims[0];
    call.stateParts = state.dims[1];
    call.rows = query.dims[0];
    call.heads = query.dims[1];
    call.kvHeads = state.dims[2];
    call.headDim = query.dims[2];
    call.blockTokens = state.dims[3];
    call.positions = run.tensor(positions_).integers();
    call.starts = run.tensor(starts_).integers();
    call.blockTables = blocks.integers();
    call.reach = reach_ == absent ? nullptr : run.tensor(reach_).integers();
    call.sequences = blocks.dims[0];
    call.tableColumns = blocks.dims[1];
    call.scale = scale_;
    call.window = window_;
    call.softcap = softcap_;
    call.out = run.tensor(out_).floats();
    return call;
  }

  // The plan of this call, moved to the back of the member's list.
  const CachedAttentionPlan& plan(Run& run, int member) const {
    auto& plans = run.attentionPlans(member);
    const Attention call = describe(run);
    const auto known = std::find_if(plans.begin(), plans.end(),
                                    [&](const CachedAttentionPlan& cached) { return samePlan(cached.key, call); });
    if (known != plans.end() && cacheable_) {
      std::rotate(known, known + 1, plans.end());
      return plans.back();
    }
    if (known != plans.end()) plans.erase(known);
    if (plans.size() == plansKept) plans.erase(plans.begin());
    plans.emplace_back();
    CachedAttentionPlan& fresh = plans.back();
    fresh.key = call;
    fresh.tiles.resize(static_cast<size_t>(std::max<int64_t>(1, call.rows)));
    fresh.fault = planAttention(call, run.members(), fresh.tiles.data(), &fresh.plan, &fresh.faultRow);
    return fresh;
  }

  static Failure failure(const Attention& call, const CachedAttentionPlan& cached) {
    const int64_t row = cached.faultRow;
    if (cached.fault == AttentionFault::position) {
      const int32_t* reach = call.reach == nullptr ? call.positions : call.reach;
      return Failure(
          "usage/block-table",
          "Position " + std::to_string(reach[row]) + " is beyond the block table of " +
              std::to_string(call.tableColumns) + " columns.",
          {{"position", reach[row]}, {"tableColumns", call.tableColumns}, {"blockTokens", call.blockTokens}});
    }
    if (cached.fault == AttentionFault::blockId) {
      return Failure("usage/slot",
                     "The block table of sequence " + std::to_string(row) + " names a block outside the pool of " +
                         std::to_string(call.stateBlocks) + " blocks.",
                     {{"sequence", row}, {"blocks", call.stateBlocks}, {"blockTokens", call.blockTokens}});
    }
    return Failure("usage/starts",
                   "Sequence " + std::to_string(row) + " does not begin at or after the one before it, within the " +
                       std::to_string(call.rows) + " rows.",
                   {{"sequence", row}, {"rows", call.rows}});
  }

  int32_t query_, state_, positions_, starts_, blocks_, reach_, out_;
  float scale_;
  int64_t window_;
  float softcap_;
  bool cacheable_ = true;
};

}  // namespace

std::unique_ptr<Step> readAttentionStep(WordReader& reader, const Program& program) {
  return std::make_unique<AttentionStep>(reader, program);
}

}  // namespace unicorn
