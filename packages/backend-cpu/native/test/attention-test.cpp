// Tests of attention and of its plan.
#include "check.h"

namespace unicorn::check {

struct AttentionCase {
  const char* what;
  DType dtype;
  int64_t heads, kvHeads, headDim, blockTokens;
  std::vector<int64_t> past;   // tokens of each sequence before this step
  std::vector<int64_t> fresh;  // rows of each sequence in this step
  int64_t window;
  float softcap;
  bool reach;
};

struct AttentionData {
  std::vector<float> query;
  std::vector<uint8_t> state;
  std::vector<int32_t> positions, starts, tables, reach;
  Attention call;
};

static AttentionData makeAttention(const AttentionCase& c, Random& random) {
  AttentionData data;
  Attention& call = data.call;
  call = {};
  int64_t rows = 0;
  int64_t longest = 0;
  for (size_t s = 0; s < c.past.size(); s++) {
    data.starts.push_back(static_cast<int32_t>(rows));
    for (int64_t i = 0; i < c.fresh[s]; i++) {
      const int64_t position = c.past[s] + i;
      data.positions.push_back(static_cast<int32_t>(position));
      const int64_t ahead = c.fresh[s] - 1 - i;
      data.reach.push_back(static_cast<int32_t>(position + (ahead > 0 ? random.below(ahead + 1) : 0)));
    }
    rows += c.fresh[s];
    longest = std::max(longest, c.past[s] + c.fresh[s]);
  }
  call.tableColumns = (longest + c.blockTokens - 1) / c.blockTokens;
  call.sequences = static_cast<int64_t>(c.past.size());
  call.stateBlocks = 1 + call.sequences * call.tableColumns;
  // Blocks in a scrambled order.
  std::vector<int32_t> ids;
  for (int64_t i = 1; i < call.stateBlocks; i++) ids.push_back(static_cast<int32_t>(i));
  for (size_t i = ids.size(); i > 1; i--)
    std::swap(ids[i - 1], ids[static_cast<size_t>(random.below(static_cast<int64_t>(i)))]);
  data.tables = ids;
  data.state = sample::weights(c.dtype, call.stateBlocks * 2 * c.kvHeads * c.blockTokens, c.headDim, random);
  if (c.dtype == DType::q8_0) {  // values near one, as keys and values are
    for (size_t i = 0; i < data.state.size(); i += 34) {
      const uint16_t half = floatToHalf(0.01f * (0.5f + random.uniform()));
      std::memcpy(&data.state[i], &half, 2);
    }
  }
  data.query = randomFloats(rows * c.heads * c.headDim, random);
  call.query = data.query.data();
  call.state = data.state.data();
  call.stateDType = c.dtype;
  call.rows = rows;
  call.heads = c.heads;
  call.kvHeads = c.kvHeads;
  call.headDim = c.headDim;
  call.blockTokens = c.blockTokens;
  call.positions = data.positions.data();
  call.starts = data.starts.data();
  call.blockTables = data.tables.data();
  call.reach = c.reach ? data.reach.data() : nullptr;
  call.scale = 1 / std::sqrt(static_cast<float>(c.headDim));
  call.window = c.window;
  call.softcap = c.softcap;
  return data;
}

// All tasks, in reverse order: they must not depend on each other.
static bool runAttention(const Kernels& kernels, Attention call, int64_t threads, float* out) {
  call.out = out;
  std::vector<AttentionTile> tiles(static_cast<size_t>(call.rows));
  AttentionPlan plan;
  int64_t fault;
  if (planAttention(call, threads, tiles.data(), &plan, &fault) != AttentionFault::none) return false;
  Buffer scratch(plan.scratchBytes), partials(plan.partialBytes);
  for (int64_t task = plan.taskCount; task-- > 0;)
    kernels.attention(call, plan, task, task + 1, scratch.data(), partials.data());
  for (int64_t task = plan.mergeCount; task-- > 0;)
    kernels.attentionMerge(call, plan, task, task + 1, scratch.data(), partials.data());
  return scratch.intact() && partials.intact() &&
         plan.scratchBytes <= attentionScratchBytesBound(call.heads, call.kvHeads, call.headDim) &&
         plan.partialBytes <=
             attentionPartialBytesBound(call.rows, call.heads, call.headDim, call.tableColumns * call.blockTokens);
}

void testAttention(const Kernels& kernels) {
  Random random(6);
  const AttentionCase cases[] = {
      {"prefill and decode, grouped", DType::f32, 9, 3, 64, 16, {0, 700, 3}, {37, 1, 5}, 0, 0, false},
      {"f16, long decode", DType::f16, 9, 3, 64, 16, {1303}, {1}, 0, 0, false},
      {"f16, chunk in the middle", DType::f16, 6, 2, 128, 32, {233}, {41}, 0, 0, false},
      {"bf16, one KV head, window", DType::bf16, 4, 1, 256, 16, {611, 20}, {2, 60}, 100, 0, false},
      {"q8_0, window and softcap", DType::q8_0, 4, 2, 96, 7, {301}, {19}, 33, 20, false},
      {"f32, odd head dim, reach", DType::f32, 5, 5, 37, 5, {67, 0}, {23, 17}, 0, 0, true},
      {"f16, odd head dim, more heads than a tile", DType::f16, 40, 1, 20, 16, {90}, {3}, 64, 5, true},
  };
  for (const AttentionCase& c : cases) {
    const AttentionData data = makeAttention(c, random);
    const int64_t count = data.call.rows * c.heads * c.headDim;
    Buffer out(count * 4);
    std::vector<double> expected(static_cast<size_t>(count));
    const bool ran = runAttention(kernels, data.call, 2, out.floats());
    reference::attention(data.call, expected.data());
    double worst = 0;
    for (int64_t i = 0; i < count; i++)
      worst = std::fmax(worst, std::fabs(out.floats()[i] - expected[static_cast<size_t>(i)]));
    // Values and results are about one; a score of about one has an error of some ulps, and so has its weight.
    const double bound = 5e-6;
    report(ran && out.intact() && worst < bound, kernels.name, std::string("attention: ") + c.what, worst, bound);

    // One row at a time, planned for one thread and for many.
    bool same = true;
    for (int64_t s = 0; s < data.call.sequences; s++) {
      const int64_t end = s + 1 < data.call.sequences ? data.starts[static_cast<size_t>(s + 1)] : data.call.rows;
      for (int64_t row = data.starts[static_cast<size_t>(s)]; row < end; row++) {
        Attention one = data.call;
        const int32_t zero = 0;
        one.rows = 1;
        one.sequences = 1;
        one.query += row * c.heads * c.headDim;
        one.positions += row;
        one.starts = &zero;
        one.blockTables += s * data.call.tableColumns;
        if (one.reach) one.reach += row;
        Buffer alone(c.heads * c.headDim * 4);
        same = same && runAttention(kernels, one, row % 2 == 0 ? 1 : 16, alone.floats());
        same = same && sameBits(alone.data(), out.floats() + row * c.heads * c.headDim, alone.bytes());
      }
    }
    report(same, kernels.name, std::string("attention: a row alone gives the same bits: ") + c.what);
  }

  // A NaN in the newest key and value must not reach rows that do not see it, nor one in a query its neighbours.
  AttentionData data = makeAttention({"", DType::f32, 6, 2, 32, 16, {50}, {11}, 0, 0, false}, random);
  const int64_t width = 6 * 32;
  Buffer clean(11 * width * 4), spoilt(11 * width * 4);
  runAttention(kernels, data.call, 2, clean.floats());
  const int64_t last = 60;
  float* state = reinterpret_cast<float*>(data.state.data());
  for (int part = 0; part < 2; part++) {
    for (int head = 0; head < 2; head++) {
      const int64_t block = data.tables[static_cast<size_t>(last / 16)];
      for (int d = 0; d < 32; d++) state[(((block * 2 + part) * 2 + head) * 16 + last % 16) * 32 + d] = NAN;
    }
  }
  data.query[static_cast<size_t>(4 * width)] = NAN;
  runAttention(kernels, data.call, 2, spoilt.floats());
  bool ok = true;
  for (int64_t row = 0; row < 11; row++) {
    const float* a = clean.floats() + row * width;
    const float* b = spoilt.floats() + row * width;
    if (row == 10) {
      for (int64_t i = 0; i < width; i++) ok = ok && std::isnan(b[i]);
    } else if (row == 4) {
      for (int64_t i = 0; i < 32; i++) ok = ok && std::isnan(b[i]);
      ok = ok && sameBits(a + 32, b + 32, (width - 32) * 4);
    } else {
      ok = ok && sameBits(a, b, width * 4);
    }
  }
  report(ok, kernels.name, "attention: NaN stays with the rows that see it");

  AttentionPlan plan;
  std::vector<AttentionTile> tiles(11);
  int64_t fault = -1;
  Attention bad = data.call;
  auto tables = data.tables;
  tables[2] = static_cast<int32_t>(bad.stateBlocks);
  bad.blockTables = tables.data();
  ok = planAttention(bad, 1, tiles.data(), &plan, &fault) == AttentionFault::blockId && fault == 0;
  auto positions = data.positions;
  positions[7] = 16 * 4;
  bad = data.call;
  bad.positions = positions.data();
  ok = ok && planAttention(bad, 1, tiles.data(), &plan, &fault) == AttentionFault::position && fault == 7;
  report(ok, kernels.name, "planAttention refuses tables and positions outside the state");
}

}  // namespace unicorn::check
