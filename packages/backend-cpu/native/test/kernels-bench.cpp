// Speed of the kernels alone: the shapes of SmolLM2-135M and one large matrix, against the machine's read bandwidth and
// int8 peak. Arguments: level names (default: the best level), and "attention" to leave out the products. Weights are read
// from more copies than caches hold.
#include <time.h>

#include <cstdio>
#include <string>
#include <thread>

#include "sample.h"

namespace {

using namespace unicorn;
using sample::Buffer;
using sample::Random;

// The clock of one thread's own time, without the time that other programs take.
double threadSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// Seconds of the fastest of some runs of `body(thread)` on `threads` threads: of a run's slowest thread.
template <typename Body>
double seconds(int threads, Body body) {
  double best = 1e30;
  for (int repeat = 0; repeat < 5; repeat++) {
    std::vector<double> taken(static_cast<size_t>(threads));
    const auto timed = [&](int t) {
      const double begin = threadSeconds();
      body(t);
      taken[static_cast<size_t>(t)] = threadSeconds() - begin;
    };
    std::vector<std::thread> pool;
    for (int t = 1; t < threads; t++) pool.emplace_back(timed, t);
    timed(0);
    for (auto& thread : pool) thread.join();
    double slowest = 0;
    for (const double one : taken) slowest = std::max(slowest, one);
    best = std::min(best, slowest);
  }
  return best;
}

// Gigabytes per second of summing a large array.
double readBandwidth(int threads) {
  const Buffer memory(int64_t{256} << 20);
  const int64_t words = memory.bytes() / 8;
  const double time = seconds(threads, [&](int t) {
    const uint64_t* p = reinterpret_cast<const uint64_t*>(memory.data());
    uint64_t sums[8] = {};
    const int64_t begin = words * t / threads / 8 * 8;
    const int64_t end = words * (t + 1) / threads / 8 * 8;
    for (int64_t i = begin; i < end; i += 8) {
      for (int j = 0; j < 8; j++) sums[j] += p[i + j];
    }
    volatile uint64_t sink = sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
    (void)sink;
  });
  return static_cast<double>(memory.bytes()) / time / 1e9;
}

void benchMatmul(const Kernels& kernels, int threads) {
  struct Shape {
    int64_t columns, rows;
  };
  const Shape shapes[] = {{576, 1536}, {576, 576}, {576, 192}, {1536, 576}, {576, 49152}, {4096, 4096}};
  std::printf(
      "\nmatmulQuantized, %s, %d threads: 1 row GB/s of weights; 4 and 12 rows, time of 1 row; 256 rows GMAC/s per thread\n",
      kernels.name, threads);
  for (const DType dtype :
       {DType::q4_0, DType::q4_1, DType::q8_0, DType::q5_0, DType::q4_k, DType::q5_k, DType::q6_k, DType::iq4_nl}) {
    for (const Shape shape : shapes) {
      if (!packable(dtype, shape.rows, shape.columns)) continue;
      Random random(1);
      const auto raw = sample::weights(dtype, shape.rows, shape.columns, random);
      const int64_t stride = rowBytes(dtype, shape.columns);
      constexpr int64_t rows = 256;
      std::vector<float> x(static_cast<size_t>(rows * shape.columns));
      for (auto& value : x) value = random.normal();
      const Buffer activations(rows * activationRowBytes(shape.columns));
      kernels.quantize(x.data(), shape.columns, shape.columns, 0, rows, activations.data());
      const Buffer out(rows * shape.rows * 4);
      const int64_t groups = groupCount(shape.rows);
      for (const WeightForm form : {WeightForm::packed, WeightForm::inPlace}) {
        const int64_t bytes =
            form == WeightForm::packed ? packedBytes(dtype, shape.rows, shape.columns) : stride * shape.rows;
        const int64_t copies = 200'000'000 / bytes + 1;
        const Buffer weights(bytes * copies);
        for (int64_t c = 0; c < copies; c++) {
          uint8_t* copy = weights.data() + c * bytes;
          if (form == WeightForm::packed) {
            kernels.pack(dtype, raw.data(), stride, shape.rows, shape.columns, 0, groups, copy);
          } else {
            std::memcpy(copy, raw.data(), raw.size());
          }
        }
        const Buffer scratch(threads * packedGroupBytes(dtype, shape.columns));
        const auto time = [&](int64_t count, int64_t repeats) {
          const double total = seconds(threads, [&](int t) {
            for (int64_t i = 0; i < repeats; i++) {
              const QuantizedMatmul call = {activations.data(),
                                            weights.data() + i % copies * bytes,
                                            dtype,
                                            form,
                                            stride,
                                            shape.columns,
                                            shape.columns,
                                            shape.rows,
                                            out.floats(),
                                            shape.rows,
                                            {}};
              kernels.matmulQuantized(call, 0, count, groups * t / threads, groups * (t + 1) / threads,
                                      scratch.data() + t * packedGroupBytes(dtype, shape.columns));
            }
          });
          return total / static_cast<double>(repeats);
        };
        const double one = time(1, copies);
        const double four = time(4, copies);
        const double twelve = time(12, std::max<int64_t>(1, copies / 4));
        const double many = time(rows, std::max<int64_t>(1, 8'000'000 / (shape.columns * shape.rows)));
        std::printf("  %-6s %-8s K=%-4ld N=%-5ld  %5.1f GB/s  x%.2f  x%.2f  %4.0f GMAC/s\n", dtypeName(dtype),
                    form == WeightForm::packed ? "packed" : "in place", static_cast<long>(shape.columns),
                    static_cast<long>(shape.rows), static_cast<double>(bytes) / one / 1e9, four / one, twelve / one,
                    static_cast<double>(rows * shape.columns * shape.rows) / many / 1e9 / threads);
      }
    }
  }
}

void benchMatmulFloat(const Kernels& kernels) {
  std::printf("\nmatmulFloat, %s, 1 thread, K=1536 N=576: 1 row GB/s of weights, 64 rows GMAC/s\n", kernels.name);
  struct Case {
    DType dtype;
    WeightForm form;
  };
  for (const Case c : {Case{DType::f32, WeightForm::raw}, Case{DType::f16, WeightForm::raw},
                       Case{DType::bf16, WeightForm::raw}, Case{DType::q8_0, WeightForm::packed},
                       Case{DType::q4_0, WeightForm::packed}, Case{DType::q3_k, WeightForm::raw}}) {
    Random random(2);
    const int64_t columns = 1536;
    const int64_t weightRows = 576;
    const auto raw = sample::weights(c.dtype, weightRows, columns, random);
    const int64_t packedSize = c.form == WeightForm::packed ? packedBytes(c.dtype, weightRows, columns) : 0;
    const Buffer packed(packedSize);
    if (packedSize > 0)
      packGroups(c.dtype, raw.data(), rowBytes(c.dtype, columns), weightRows, columns, 0, 36, packed.data());
    std::vector<float> x(64 * 1536, 0.5f);
    const Buffer out(64 * 576 * 4);
    const FloatMatmul call = {x.data(),     columns,    packedSize > 0 ? packed.data() : raw.data(),
                              c.dtype,      c.form,     rowBytes(c.dtype, columns),
                              columns,      columns,    weightRows,
                              out.floats(), weightRows, {}};
    const Buffer scratch(kernels.matmulFloatScratchBytes(call));
    const double twenty = seconds(1, [&](int) {
      for (int i = 0; i < 20; i++) kernels.matmulFloat(call, 0, 1, 0, 36, scratch.data());
    });
    const double one = twenty / 20;
    const double many = seconds(1, [&](int) { kernels.matmulFloat(call, 0, 64, 0, 36, scratch.data()); });
    std::printf(
        "  %-6s %-6s  %5.1f GB/s  %4.1f GMAC/s\n", dtypeName(c.dtype), c.form == WeightForm::raw ? "raw" : "packed",
        static_cast<double>(rowBytes(c.dtype, columns) * weightRows) / one / 1e9, 64.0 * 1536 * 576 / many / 1e9);
  }
}

void benchAttention(const Kernels& kernels) {
  std::printf(
      "\nattention, %s, 1 thread: prefill of 512 rows, GMAC/s; decode after 2,000 keys, GB/s of keys and values\n",
      kernels.name);
  struct Case {
    int64_t heads, kvHeads, headDim;
    DType dtype;
  };
  for (const Case c : {Case{9, 3, 64, DType::f16}, Case{9, 3, 64, DType::f32}, Case{9, 3, 64, DType::q8_0},
                       Case{14, 2, 64, DType::f16}, Case{16, 8, 128, DType::f16}, Case{4, 1, 256, DType::f16},
                       Case{8, 8, 64, DType::f16}}) {
    Random random(3);
    const int64_t tokens = 2048;
    const int64_t blockTokens = 16;
    const auto state =
        sample::weights(c.dtype, (tokens / blockTokens + 1) * 2 * c.kvHeads * blockTokens, c.headDim, random);
    std::vector<float> query(static_cast<size_t>(512 * c.heads * c.headDim));
    for (auto& value : query) value = random.normal();
    std::vector<int32_t> positions(512), table(tokens / blockTokens), starts = {0};
    for (size_t i = 0; i < table.size(); i++) table[i] = static_cast<int32_t>(i + 1);
    const Buffer out(512 * c.heads * c.headDim * 4);
    Attention call = {query.data(),
                      state.data(),
                      c.dtype,
                      tokens / blockTokens + 1,
                      512,
                      c.heads,
                      c.kvHeads,
                      c.headDim,
                      blockTokens,
                      positions.data(),
                      starts.data(),
                      table.data(),
                      nullptr,
                      1,
                      static_cast<int64_t>(table.size()),
                      0.125f,
                      0,
                      0,
                      out.floats()};
    std::vector<AttentionTile> tiles(512);
    AttentionPlan plan;
    int64_t fault;
    const auto time = [&](int64_t rows, int64_t past) {
      call.rows = rows;
      for (int64_t i = 0; i < rows; i++) positions[static_cast<size_t>(i)] = static_cast<int32_t>(past + i);
      planAttention(call, 2, tiles.data(), &plan, &fault);
      const Buffer scratch(plan.scratchBytes), partials(plan.partialBytes);
      return seconds(1, [&](int) {
        kernels.attention(call, plan, 0, plan.taskCount, scratch.data(), partials.data());
        kernels.attentionMerge(call, plan, 0, plan.mergeCount, scratch.data(), partials.data());
      });
    };
    const double prefill = time(512, 0);
    const double decode = time(1, 2000);
    std::printf("  heads %2ld/%ld dim %-3ld %-5s  %5.1f GMAC/s  %5.1f GB/s (%.0f us)\n", static_cast<long>(c.heads),
                static_cast<long>(c.kvHeads), static_cast<long>(c.headDim), dtypeName(c.dtype),
                512.0 * 513 / 2 * c.heads * c.headDim * 2 / prefill / 1e9,
                2001.0 * 2 * c.kvHeads * rowBytes(c.dtype, c.headDim) / decode / 1e9, decode * 1e6);
  }
}

void benchPacking(const Kernels& kernels) {
  std::printf("\npacking, %s (scalar), 1 thread, GB/s of raw weights:", kernels.name);
  for (const DType dtype :
       {DType::q4_0, DType::q4_1, DType::q8_0, DType::q5_0, DType::q4_k, DType::q5_k, DType::q6_k, DType::iq4_xs}) {
    Random random(5);
    const auto raw = sample::weights(dtype, 512, 2048, random);
    const Buffer packed(packedBytes(dtype, 512, 2048));
    const auto rate = [&](auto pack) {
      return static_cast<double>(raw.size()) / 1e9 /
             seconds(1, [&](int) { pack(dtype, raw.data(), rowBytes(dtype, 2048), 512, 2048, 0, 32, packed.data()); });
    };
    std::printf(" %s %.1f (%.2f)", dtypeName(dtype), rate(kernels.pack), rate(packGroups));
  }
  std::printf("\n");
}

void benchRows(const Kernels& kernels) {
  Random random(4);
  std::vector<float> x(256 * 1536), y(x.size());
  for (auto& value : x) value = random.normal();
  const Buffer out(256 * activationRowBytes(1536));
  const auto rate = [&](double time) { return static_cast<double>(x.size()) / time / 1e9; };
  std::printf(
      "\nrows, %s, 1 thread, giga-elements/s: quantize %.2f, quantizeGlu(silu) %.2f, exp %.2f, tanh %.2f\n",
      kernels.name, rate(seconds(1, [&](int) { kernels.quantize(x.data(), 1536, 1536, 0, 256, out.data()); })),
      rate(seconds(1,
                   [&](int) {
                     kernels.quantizeGlu(Activation::silu, x.data(), 1536, x.data(), 1536, 1536, 0, 256, out.data());
                   })),
      rate(seconds(1, [&](int) { kernels.exp(x.data(), static_cast<int64_t>(x.size()), y.data()); })),
      rate(seconds(
          1, [&](int) { kernels.activate(Activation::tanh, x.data(), static_cast<int64_t>(x.size()), y.data()); })));
}

}  // namespace

int main(int argc, char** argv) {
  std::printf("read bandwidth: 1 thread %.1f GB/s, 2 threads %.1f GB/s\n", readBandwidth(1), readBandwidth(2));
  bool products = true;
  bool named = false;
  for (int i = 1; i < argc; i++) {
    if (std::string(argv[i]) == "attention") {
      products = false;
    } else {
      named = true;
    }
  }
  for (const Level level : {Level::portable, Level::avx2, Level::avx512vnni}) {
    bool wanted = !named && level == bestLevel();
    for (int i = 1; i < argc; i++) wanted = wanted || std::string(argv[i]) == levelName(level);
    if (!wanted || !levelAvailable(level)) continue;
    const Kernels& kernels = selectKernels(level);
    if (products) {
      benchPacking(kernels);
      benchMatmul(kernels, 1);
      benchMatmul(kernels, 2);
      benchMatmulFloat(kernels);
    }
    benchAttention(kernels);
    benchRows(kernels);
  }
  return 0;
}
