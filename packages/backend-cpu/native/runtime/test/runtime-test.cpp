// The runtime without JavaScript, for sanitizers that cannot see into Node (ThreadSanitizer above all): barriers,
// claims, devices side by side, failures, loading under way while a device is closed. Exits with 1 at the first mismatch.

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "../device.h"
#include "../half-row.h"

using namespace unicorn;

namespace {

#define CHECK(condition)                                          \
  do {                                                            \
    if (!(condition)) {                                           \
      std::printf("%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      std::exit(1);                                               \
    }                                                             \
  } while (0)

// Park and Miller 1988.
struct Random {
  uint64_t state = 1;
  uint32_t next() { return static_cast<uint32_t>(state = state * 48271 % 2147483647); }
  float signedUnit() { return static_cast<float>(next() % 2000) / 1000 - 1; }
};

// The words of a program, as src/lowering/encode.ts writes them.
struct Words {
  std::vector<double> words;
  std::vector<std::string> names;

  void number(double value) { words.push_back(value); }
  void name(const std::string& text) {
    for (size_t i = 0; i < names.size(); i++) {
      if (names[i] == text) return number(static_cast<double>(i));
    }
    names.push_back(text);
    number(static_cast<double>(names.size() - 1));
  }
  void value(const char* space, int index, double offset, DType dtype, std::initializer_list<double> dims) {
    name(space);
    number(index);
    number(1);
    number(offset);
    number(0);
    number(static_cast<double>(dtype));
    number(static_cast<double>(dims.size()));
    for (const double dim : dims) number(dim);
  }
};

constexpr int64_t features = 64;
constexpr int64_t mostRows = 96;

// y = rmsNorm(2 x) @ w^T, then the rows of y that ids name.
std::shared_ptr<Program> makeProgram(const std::shared_ptr<WeightSet>& weights, const Device& device) {
  Words out;
  out.number(0);         // not profiled
  out.number(1);         // symbols
  out.number(mostRows);  // n
  out.number(3);         // bindings
  out.number(2 * mostRows * features * 4);
  out.number(6);  // values
  out.value("binding", 0, 0, DType::f32, {-1, features});
  out.value("arena", 0, 0, DType::f32, {-1, features});
  out.value("weight", 0, 0, DType::q8_0, {features, features});
  out.name("matrix");
  for (const double view : {0.0, double{features}, 0.0, double{features}}) out.number(view);
  out.value("arena", 0, mostRows * features * 4, DType::f32, {-1, features});
  out.value("binding", 1, 0, DType::i32, {-1});
  out.value("binding", 2, 0, DType::f32, {-1, features});
  out.number(3);  // steps
  out.name("rows");
  out.number(-1);
  out.number(1);
  out.name("scale");
  for (const double word : {2, 0, 0, 1, 0, 1, 2}) out.number(word);
  out.name("matmul");
  for (const double word : {1, 1, 1, -1}) out.number(word);  // x, quantized, normalized, no weight
  out.number(1e-6);
  out.number(0);
  for (const double word : {1, 2, -1, 0, 3, -1, -1, 0}) out.number(word);
  out.name("rows");
  out.number(-1);
  out.number(1);
  out.name("takeRows");
  for (const double word : {3, 3, -1, 4, 0, 5, 0, 1, 0}) out.number(word);
  return std::make_shared<Program>(std::vector{weights}, device.kernels(), device.threads(),
                                   WordReader(out.words.data(), out.words.size(), out.names), std::vector<uint8_t>());
}

WeightRequests randomWeights(int64_t rows) {
  Random random;
  WeightRequests requests;
  WeightRequest request{"w", DType::q8_0, rows, features, true, -1, 0, 0, nullptr};
  request.byteLength = static_cast<uint64_t>(rows * rowBytes(DType::q8_0, features));
  request.bytes = Pages::allocate(request.byteLength);
  for (size_t at = 0; at < request.byteLength; at += 34) {
    const uint16_t scale = floatToHalf(0.01F);
    std::memcpy(request.bytes->data() + at, &scale, 2);
    for (size_t i = 2; i < 34; i++) request.bytes->data()[at + i] = static_cast<uint8_t>(random.next());
  }
  requests.entries.push_back(std::move(request));
  return requests;
}

// A device with a way to wait for its jobs.
struct Host {
  std::mutex mutex;
  std::condition_variable condition;
  std::vector<std::pair<uint32_t, std::string>> ended;
  std::atomic<int> reports{0};
  std::unique_ptr<Device> device;
  uint32_t next = 1;

  explicit Host(int threads) {
    device = std::make_unique<Device>(threads, bestLevel(),
                                      JobListener{[this](uint32_t job, const Failure* failure) {
                                                    std::lock_guard<std::mutex> lock(mutex);
                                                    ended.emplace_back(job, failure == nullptr ? "" : failure->code);
                                                    condition.notify_all();
                                                  },
                                                  [this](uint32_t, uint64_t) { reports++; }});
  }

  void waitFor(size_t count) {
    std::unique_lock<std::mutex> lock(mutex);
    condition.wait(lock, [&] { return ended.size() >= count; });
  }

  std::shared_ptr<WeightSet> load(int64_t rows) {
    LoadJob job{randomWeights(rows), std::make_shared<std::atomic<bool>>(false),
                std::make_shared<std::shared_ptr<WeightSet>>()};
    const auto result = job.result;
    const size_t before = ended.size();
    device->load(next++, std::move(job));
    waitFor(before + 1);
    return *result;
  }
};

ProgramJob makeJob(const std::shared_ptr<Program>& program, int64_t rows, const std::shared_ptr<Pages>& out,
                   uint64_t seed, int32_t badRow = -1) {
  Random random{seed};
  ProgramJob job;
  job.program = program;
  job.symbols = {rows};
  std::vector<uint8_t> x(static_cast<size_t>(rows * features) * 4);
  std::vector<uint8_t> ids(static_cast<size_t>(rows) * 4);
  for (int64_t i = 0; i < rows * features; i++) {
    const float value = random.signedUnit();
    std::memcpy(x.data() + 4 * i, &value, 4);
  }
  for (int64_t i = 0; i < rows; i++) {
    const int32_t id = i == badRow ? 1000 : static_cast<int32_t>(rows - 1 - i);
    std::memcpy(ids.data() + 4 * i, &id, 4);
  }
  job.bindings.push_back({nullptr, x.size(), false, nullptr, std::move(x)});
  job.bindings.push_back({nullptr, ids.size(), false, nullptr, std::move(ids)});
  job.bindings.push_back({out->data(), out->byteLength(), true, out, {}});
  for (int i = 0; i < 2; i++)
    job.bindings[static_cast<size_t>(i)].data = job.bindings[static_cast<size_t>(i)].copy.data();
  return job;
}

// Every f16 boundary is among the f32 numbers whose low 11 bits are 0, 1, half, half + 1 or all ones.
void testHalves() {
  for (uint64_t high = 0; high < (1U << 21); high++) {
    for (const uint32_t low : {0x000U, 0x001U, 0x3ffU, 0x400U, 0x401U, 0x7ffU}) {
      const uint32_t bits = static_cast<uint32_t>(high << 11) | low;
      float value;
      std::memcpy(&value, &bits, 4);
      uint16_t half;
      floatsToHalves(&value, 1, reinterpret_cast<uint8_t*>(&half));
      CHECK(half == floatToHalf(value));
    }
  }
}

void testBarrier() {
  for (const int threads : {1, 2, 4}) {
    ThreadPool pool(threads);
    std::vector<int> expected(static_cast<size_t>(threads));
    std::vector<int> counts(static_cast<size_t>(threads));
    for (int round = 0; round < 20; round++) {
      // Calls without the last members, who come back later.
      const int members = 1 + round * 5 % threads;
      const double lostMs = pool.run(members, [&](int member) {
        for (int i = 0; i < 50; i++) {
          counts[static_cast<size_t>(member)]++;
          pool.barrier(member);
          for (int other = 1; other < members; other++) {
            CHECK(counts[static_cast<size_t>(other)] - expected[static_cast<size_t>(other)] == i + 1);
          }
          pool.barrier(member);
        }
      });
      CHECK(lostMs == lostMs && (members > 1 || lostMs == 0));
      for (int member = 0; member < members; member++) expected[static_cast<size_t>(member)] += 50;
    }
    CHECK(counts == expected);
  }
}

// Runs of 5 ms of a team of which at most `free` members are not delayed: the team, averaged over the last of `runs`.
double settledTeam(TeamSize& team, int free, int runs, double& nowMs) {
  double sum = 0;
  for (int i = 0; i < runs; i++) {
    // A larger team takes as long as its member without a processor waits for one.
    const bool delayed = team.members() > free;
    const double elapsedMs = delayed ? 40 : 5;
    if (i >= runs / 2) sum += team.members();
    team.ran(elapsedMs, delayed ? 36 : 0.2, nowMs += elapsedMs);
  }
  return sum / (runs - runs / 2);
}

void testTeamSize() {
  double nowMs = 1000;
  TeamSize team(8);
  CHECK(team.members() == 8);
  CHECK(settledTeam(team, 8, 1000, nowMs) == 8);
  const double half = settledTeam(team, 4, 4000, nowMs);
  CHECK(half > 3.9 && half < 4.1);
  const double one = settledTeam(team, 1, 4000, nowMs);
  CHECK(one >= 1 && one < 1.1);
  // The neighbours leave.
  CHECK(settledTeam(team, 8, 4000, nowMs) == 8);
  // A single interruption, and delays of a few percent, change nothing.
  team.ran(20, 12, nowMs += 20);
  for (int i = 0; i < 100; i++) team.ran(5, 1, nowMs += 5);
  CHECK(team.members() == 8);
}

void testDevices() {
  constexpr int jobs = 60;
  std::vector<std::vector<std::shared_ptr<Pages>>> outputs;
  std::vector<std::unique_ptr<Host>> hosts;
  for (const int threads : {1, 2, 4}) {
    hosts.push_back(std::make_unique<Host>(threads));
    Host& host = *hosts.back();
    const auto weights = host.load(features);
    const auto program = makeProgram(weights, *host.device);
    outputs.emplace_back();
    for (int i = 0; i < jobs; i++) {
      const int64_t rows = i % 7 == 0 ? 1 : 1 + i * 13 % mostRows;
      outputs.back().push_back(Pages::allocate(static_cast<size_t>(rows * features) * 4));
      host.device->submit(host.next++, makeJob(program, rows, outputs.back().back(), static_cast<uint64_t>(i) + 1));
    }
  }
  for (auto& host : hosts) host->waitFor(jobs + 1);
  for (auto& host : hosts) {
    for (const auto& [job, code] : host->ended) CHECK(code.empty());
  }
  for (size_t device = 1; device < outputs.size(); device++) {
    for (size_t i = 0; i < jobs; i++) {
      CHECK(std::memcmp(outputs[0][i]->data(), outputs[device][i]->data(), outputs[0][i]->byteLength()) == 0);
    }
  }
}

void testFailures() {
  Host host(3);
  const auto program = makeProgram(host.load(features), *host.device);
  const auto out = Pages::allocate(mostRows * features * 4);
  for (int i = 0; i < 20; i++) {
    const auto failing = host.device->submit(host.next++, makeJob(program, 90, out, 1, i * 4));
    ProgramJob after = makeJob(program, 90, out, 2);
    host.device->submit(host.next++, std::move(after), {failing});
    host.device->submit(host.next++, makeJob(program, 90, out, 3));
  }
  host.waitFor(61);
  for (size_t i = 1; i < host.ended.size(); i++) {
    CHECK(host.ended[i].second == (i % 3 == 0 ? "" : "usage/row"));
  }
}

// Copies keep the order of the queue, also those that the pool shares.
void testCopies() {
  Host host(3);
  for (const size_t byteLength : {size_t{1}, size_t{4097}, (size_t{2} << 20) + 77}) {
    std::vector<std::shared_ptr<Pages>> chain;
    for (int i = 0; i < 4; i++) chain.push_back(Pages::allocate(byteLength + 2));
    Random random;
    for (size_t i = 0; i < byteLength; i++) chain[0]->data()[i] = static_cast<uint8_t>(random.next());
    const size_t before = host.ended.size();
    std::vector<std::shared_ptr<JobState>> states;
    for (size_t i = 0; i + 1 < chain.size(); i++) {
      CopyJob job{{chain[i]->data() + i % 2, byteLength, false, chain[i], {}},
                  {chain[i + 1]->data() + (i + 1) % 2, byteLength, true, chain[i + 1], {}}};
      states.push_back(host.device->copy(host.next++, std::move(job)));
    }
    host.waitFor(before + 3);
    CHECK(std::memcmp(chain[0]->data(), chain[3]->data() + 1, byteLength) == 0);
    CHECK(chain[3]->data()[0] == 0 && chain[3]->data()[byteLength + 1] == 0);
    for (size_t i = 0; i < states.size(); i++) {
      CHECK(states[i]->beginMs > 0 && states[i]->endMs >= states[i]->beginMs);
      CHECK(i == 0 || states[i]->beginMs >= states[i - 1]->endMs);
    }
  }
}

void testClosing() {
  for (int round = 0; round < 10; round++) {
    Host host(2);
    const auto program = makeProgram(host.load(features), *host.device);
    const auto out = Pages::allocate(mostRows * features * 4);
    for (int i = 0; i < 20; i++) host.device->submit(host.next++, makeJob(program, mostRows, out, 1));
    host.device->load(host.next++, {randomWeights(20000), std::make_shared<std::atomic<bool>>(false),
                                    std::make_shared<std::shared_ptr<WeightSet>>()});
    host.device->trim();
    if (round % 2 == 0) host.waitFor(5);
    host.device.reset();
    CHECK(host.ended.size() == 22);
  }
}

}  // namespace

int main() {
  testHalves();
  testBarrier();
  testTeamSize();
  testDevices();
  testFailures();
  testCopies();
  testClosing();
  std::puts("runtime-test: all passed");
  return 0;
}
