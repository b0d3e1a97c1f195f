// Choosing the next token, as packages/tensor/src/op/sample.ts defines it and in its order: bias, penalties, mask,
// temperature, top-k, top-p, min-p, typical, softmax, draw; all in double. Where the reference sorts the vocabulary,
// this collects what can survive and sorts only that. Sums run over the same terms but may associate otherwise, so a
// cut or a draw that lies within about 1e-15 of its limit may fall on the other side.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "philox.h"
#include "program.h"

namespace unicorn {
namespace {

constexpr int32_t absent = -1;
constexpr int32_t noToken = -1;
constexpr double infinity = std::numeric_limits<double>::infinity();

// Columns of the operand `parameters` (sampleParameters of the op).
struct Parameters {
  double temperature, topP, minP, typicalP, repetition, presence, frequency;
};
constexpr int64_t parameterColumns = 7;

// Columns of the operand `controls` (sampleControls of the op).
struct Controls {
  int32_t topK, seedLow, seedHigh, position, historyRow, historyLength, promptLength;
};
constexpr int64_t controlColumns = 7;

struct Candidate {
  double score;
  int32_t id;
};

bool better(const Candidate& a, const Candidate& b) { return a.score != b.score ? a.score > b.score : a.id < b.id; }
bool lowerId(const Candidate& a, const Candidate& b) { return a.id < b.id; }

// One row's view of the operands and the memory that it may use.
struct Row {
  const float* logits;
  int64_t vocabulary;
  Parameters parameters;
  Controls controls;
  const int32_t* history;
  const int32_t* biasIds;
  const float* biasValues;
  int64_t biases;
  const int32_t* mask;    // or null
  float* keys;            // [vocabulary]
  Candidate* candidates;  // [vocabulary]
  double* weights;        // [vocabulary]
};

// Logits that the bias and the penalties change, by ascending id, with their new scores. Few, so they are kept apart
// from the float logits, which are scanned as they are.
std::vector<Candidate> adjusted(const Row& row) {
  const Parameters& p = row.parameters;
  const auto inVocabulary = [&](int32_t id) { return id >= 0 && id < row.vocabulary; };
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < row.biases; i++) {
    if (!inVocabulary(row.biasIds[i])) {
      throw Failure("usage/logit-bias",
                    "Logit bias names token " + std::to_string(row.biasIds[i]) + "; the vocabulary has " +
                        std::to_string(row.vocabulary) + ".",
                    {{"id", row.biasIds[i]}, {"vocabulary", row.vocabulary}});
    }
    if (row.biasValues[i] != 0) ids.push_back(row.biasIds[i]);
  }
  const int64_t length = row.controls.historyLength;
  const bool penalized = p.repetition != 1 || p.presence != 0 || p.frequency != 0;
  if (penalized) {
    for (int64_t i = 0; i < length; i++) {
      if (inVocabulary(row.history[i])) ids.push_back(row.history[i]);
    }
  }
  if (ids.empty()) return {};
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  std::vector<Candidate> changed;
  changed.reserve(ids.size());
  for (const int32_t id : ids) changed.push_back({row.logits[id], id});
  const auto find = [&](int32_t id) {
    return std::lower_bound(changed.begin(), changed.end(), Candidate{0, id}, lowerId);
  };
  for (int64_t i = 0; i < row.biases; i++) {
    if (row.biasValues[i] != 0) find(row.biasIds[i])->score += row.biasValues[i];
  }
  if (penalized) {
    // As Array.prototype.subarray: a negative begin counts from the end.
    const int64_t prompt = row.controls.promptLength;
    const int64_t counted = std::min(length, prompt < 0 ? std::max<int64_t>(0, length + prompt) : prompt);
    std::vector<int64_t> counts(changed.size());
    std::vector<bool> seen(changed.size());
    for (int64_t i = 0; i < length; i++) {
      if (!inVocabulary(row.history[i])) continue;
      const auto at = static_cast<size_t>(find(row.history[i]) - changed.begin());
      seen[at] = true;
      if (i >= counted) counts[at]++;
    }
    for (size_t i = 0; i < changed.size(); i++) {
      double& score = changed[i].score;
      if (seen[i]) score = score > 0 ? score / p.repetition : score * p.repetition;
      if (counts[i] > 0) score -= p.presence + p.frequency * static_cast<double>(counts[i]);
    }
  }
  return changed;
}

// The candidates of a row: the float logits but for those that are adjusted or forbidden (-Infinity here), and the
// adjusted ones. Scores that come out are divided by the temperature.
class Pool {
 public:
  explicit Pool(const Row& row) : row_(row), adjusted_(adjusted(row)), keys_(row.logits) {
    const double t = row.parameters.temperature;
    temperature_ = t > 0 ? t : 1;
    if (adjusted_.empty() && row.mask == nullptr) return;
    std::memcpy(row.keys, row.logits, static_cast<size_t>(row.vocabulary) * sizeof(float));
    keys_ = row.keys;
    const auto allowed = [&](int64_t id) {
      return row.mask == nullptr || ((static_cast<uint32_t>(row.mask[id >> 5]) >> (id & 31)) & 1) != 0;
    };
    const float forbidden = -std::numeric_limits<float>::infinity();
    if (row.mask != nullptr) {
      for (int64_t id = 0; id < row.vocabulary; id++) {
        if (!allowed(id)) row.keys[id] = forbidden;
      }
    }
    for (const Candidate& one : adjusted_) row.keys[one.id] = forbidden;
    // -Infinity and NaN are not candidates.
    adjusted_.erase(std::remove_if(adjusted_.begin(), adjusted_.end(),
                                   [&](const Candidate& one) { return !(one.score > -infinity) || !allowed(one.id); }),
                    adjusted_.end());
    for (Candidate& one : adjusted_) one.score /= temperature_;
  }

  // The best candidate, of equal ones the lowest id; id -1 when there is none.
  Candidate best() const {
    Candidate found{-infinity, -1};
    float top = -std::numeric_limits<float>::infinity();
    // Blocks that a compiler turns into vector maxima; only a block that beats the best so far is looked at.
    constexpr int64_t block = 64;
    for (int64_t start = 0; start < row_.vocabulary; start += block) {
      const int64_t end = std::min(row_.vocabulary, start + block);
      float most = top;
      for (int64_t id = start; id < end; id++) most = keys_[id] > most ? keys_[id] : most;
      if (!(most > top)) continue;
      top = most;
      int64_t id = start;
      while (keys_[id] != top) id++;
      found = {static_cast<double>(top) / temperature_, static_cast<int32_t>(id)};
    }
    for (const Candidate& one : adjusted_) {
      if (found.id < 0 || better(one, found)) found = one;
    }
    return found;
  }

  // Candidates whose score is at least `least` into row.candidates, adjusted ones first, then by ascending id.
  int64_t collect(double least) const {
    int64_t count = 0;
    for (const Candidate& one : adjusted_) {
      if (one.score >= least) row_.candidates[count++] = one;
    }
    const float bound = floor(least);
    for (int64_t id = 0; id < row_.vocabulary; id++) {
      if (!(keys_[id] >= bound) || keys_[id] == -std::numeric_limits<float>::infinity()) continue;
      const double score = static_cast<double>(keys_[id]) / temperature_;
      if (score >= least) row_.candidates[count++] = {score, static_cast<int32_t>(id)};
    }
    return count;
  }

  // The k-th largest score, or -Infinity when there are no more than k candidates.
  double kthScore(int64_t k) const {
    // The k best so far, the worst on top.
    std::vector<double> heap;
    const auto worse = [](double a, double b) { return a > b; };
    int64_t seen = 0;
    const auto offer = [&](double score) {
      seen++;
      if (static_cast<int64_t>(heap.size()) < k) {
        heap.push_back(score);
        std::push_heap(heap.begin(), heap.end(), worse);
      } else if (score > heap.front()) {
        std::pop_heap(heap.begin(), heap.end(), worse);
        heap.back() = score;
        std::push_heap(heap.begin(), heap.end(), worse);
      }
    };
    for (const Candidate& one : adjusted_) offer(one.score);
    float bound = -std::numeric_limits<float>::infinity();
    for (int64_t id = 0; id < row_.vocabulary; id++) {
      // Equal ones are skipped once the heap is full, which does not change the k-th score.
      if (!(keys_[id] > bound)) continue;
      offer(static_cast<double>(keys_[id]) / temperature_);
      if (static_cast<int64_t>(heap.size()) == k && seen > k) bound = floor(heap.front());
    }
    return static_cast<int64_t>(heap.size()) == k && seen > k ? heap.front() : -infinity;
  }

 private:
  // A float that no key of at least this score is below.
  float floor(double score) const {
    if (score == -infinity) return -std::numeric_limits<float>::infinity();
    const auto bound = static_cast<float>(score * temperature_);
    return std::nextafter(std::nextafter(bound, -std::numeric_limits<float>::infinity()),
                          -std::numeric_limits<float>::infinity());
  }

  const Row& row_;
  std::vector<Candidate> adjusted_;
  const float* keys_;
  double temperature_;
};

// Probabilities of candidates [0, count) into `out`.
void softmax(const Candidate* candidates, int64_t count, double* out) {
  double top = -infinity;
  for (int64_t i = 0; i < count; i++) top = std::max(top, candidates[i].score);
  double total = 0;
  for (int64_t i = 0; i < count; i++) total += out[i] = std::exp(candidates[i].score - top);
  for (int64_t i = 0; i < count; i++) out[i] /= total;
}

// Drops the smallest while their mass is at most 1 - p. Returns the number kept, best first.
int64_t keepTopP(Candidate* candidates, int64_t count, double p, double* weights) {
  double top = -infinity;
  for (int64_t i = 0; i < count; i++) top = std::max(top, candidates[i].score);
  double total = 0;
  for (int64_t i = 0; i < count; i++) total += weights[i] = std::exp(candidates[i].score - top);
  // Candidates that are not likelier than this are dropped whatever the order, since all of them together have no more than
  // the mass. Half of it, so that rounding cannot matter; never so much that the best one is dropped.
  const double surely = 0.5 * std::min(1.0, 1 - p) / static_cast<double>(count) * total;
  double mass = 0;
  int64_t kept = 0;
  for (int64_t i = 0; i < count; i++) {
    if (weights[i] < surely) {
      mass += weights[i] / total;
    } else {
      candidates[kept++] = candidates[i];
    }
  }
  std::sort(candidates, candidates + kept, better);
  for (int64_t i = 0; i < kept; i++) weights[i] = std::exp(candidates[i].score - top) / total;
  while (kept > 1 && mass + weights[kept - 1] <= 1 - p) mass += weights[--kept];
  return kept;
}

// Keeps those nearest to the entropy until their mass reaches p.
int64_t keepTypical(Candidate* candidates, int64_t count, double p, double* weights) {
  softmax(candidates, count, weights);
  double entropy = 0;
  for (int64_t i = 0; i < count; i++) {
    if (weights[i] > 0) entropy -= weights[i] * std::log(weights[i]);
  }
  struct Shifted {
    double shift, weight;
    Candidate candidate;
  };
  std::vector<Shifted> order(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; i++) {
    order[static_cast<size_t>(i)] = {std::fabs(-std::log(weights[i]) - entropy), weights[i], candidates[i]};
  }
  const auto nearer = [](const Shifted& a, const Shifted& b) {
    return a.shift != b.shift ? a.shift < b.shift : a.candidate.id < b.candidate.id;
  };
  // Sorted piece by piece: the mass is mostly reached early.
  size_t sorted = 0;
  double mass = 0;
  int64_t kept = 0;
  while (sorted < order.size()) {
    const size_t end = std::min(order.size(), std::max<size_t>(1024, 4 * sorted));
    const auto begin = order.begin() + static_cast<std::ptrdiff_t>(sorted);
    std::partial_sort(begin, order.begin() + static_cast<std::ptrdiff_t>(end), order.end(), nearer);
    for (; sorted < end; sorted++) {
      candidates[kept++] = order[sorted].candidate;
      mass += order[sorted].weight;
      if (mass >= p) return kept;
    }
  }
  return kept;
}

// Whether no logit is NaN or plus infinity. Sixteen at a time, so that a compiler makes vectors of the comparisons.
bool areNumbers(const float* logits, int64_t count) {
  constexpr int64_t lanes = 16;
  uint32_t wrong[lanes] = {};
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    for (int64_t lane = 0; lane < lanes; lane++) {
      wrong[lane] |= static_cast<uint32_t>(!(logits[i + lane] < std::numeric_limits<float>::infinity()));
    }
  }
  for (; i < count; i++) wrong[0] |= static_cast<uint32_t>(!(logits[i] < std::numeric_limits<float>::infinity()));
  return std::all_of(wrong, wrong + lanes, [](uint32_t one) { return one == 0; });
}

// The kept candidates by ascending id, with their probabilities in row.weights. Returns their number: 0 where the logits
// are no numbers, or none may be chosen.
int64_t distribution(const Row& row) {
  if (!areNumbers(row.logits, row.vocabulary)) return 0;
  const Parameters& p = row.parameters;
  const Pool pool(row);
  const Candidate best = pool.best();
  if (best.id < 0) return 0;
  if (p.temperature <= 0) {
    row.candidates[0] = best;
    row.weights[0] = 1;
    return 1;
  }
  const int64_t topK = row.controls.topK;
  const bool narrowed = topK > 0 && topK < row.vocabulary;
  int64_t count = pool.collect(narrowed ? pool.kthScore(topK) : -infinity);
  if (p.topP < 1) count = keepTopP(row.candidates, count, p.topP, row.weights);
  if (p.minP > 0) {
    const double least = best.score + std::log(p.minP);
    count = std::remove_if(row.candidates, row.candidates + count,
                           [&](const Candidate& one) { return one.id != best.id && !(one.score >= least); }) -
            row.candidates;
  }
  if (p.typicalP < 1) count = keepTypical(row.candidates, count, p.typicalP, row.weights);
  std::sort(row.candidates, row.candidates + count, lowerId);
  softmax(row.candidates, count, row.weights);
  return count;
}

class SampleStep final : public Step {
 public:
  SampleStep(WordReader& reader, const Program& program) {
    logits_ = reader.index();
    parameters_ = reader.index();
    controls_ = reader.index();
    biasIds_ = reader.index();
    biasValues_ = reader.index();
    history_ = reader.index();
    mask_ = reader.index();
    ids_ = reader.index();
    probabilities_ = reader.index();
    vocabulary_ = program.maximumDim(logits_, 1);
  }

  int prepare(Run&, int) const override { return 1; }

  void phase(Turn& turn) const override {
    const int64_t rows = turn.run.tensor(logits_).dims[0];
    int64_t begin, end;
    // Rows of one sequence see each other's tokens in its history, so then they are one item of work, taken in order.
    if (sharesHistory(turn.run, rows)) {
      if (!turn.claim(1, 1, begin, end)) return;
      for (int64_t row = 0; row < rows; row++) sample(turn, row);
      return;
    }
    while (turn.claim(rows, 1, begin, end)) sample(turn, begin);
  }

  int64_t memberBytes(const Program&) const override {
    return vocabulary_ * static_cast<int64_t>(sizeof(Candidate) + sizeof(double) + sizeof(float));
  }
  int64_t sharedBytes(const Program&) const override { return 0; }

 private:
  bool sharesHistory(const Run& run, int64_t rows) const {
    const int32_t* controls = run.tensor(controls_).integers();
    for (int64_t a = 0; a < rows; a++) {
      for (int64_t b = a + 1; b < rows; b++) {
        if (controls[a * controlColumns + 4] == controls[b * controlColumns + 4]) return true;
      }
    }
    return false;
  }

  void sample(Turn& turn, int64_t index) const {
    const Run& run = turn.run;
    const Tensor& historyState = run.tensor(history_);
    const int64_t historyRows = historyState.dims[0];
    const int64_t capacity = historyState.dims[1];
    Row row{};
    row.vocabulary = run.tensor(logits_).dims[1];
    row.logits = run.tensor(logits_).floats() + index * row.vocabulary;
    const float* parameters = run.tensor(parameters_).floats() + index * parameterColumns;
    row.parameters = {parameters[0], parameters[1], parameters[2], parameters[3],
                      parameters[4], parameters[5], parameters[6]};
    const int32_t* controls = run.tensor(controls_).integers() + index * controlColumns;
    row.controls = {controls[0], controls[1], controls[2], controls[3], controls[4], controls[5], controls[6]};
    const Controls& c = row.controls;
    if (c.historyRow < 0 || c.historyRow >= historyRows || c.historyLength < 0 || c.historyLength > capacity) {
      throw Failure(
          "usage/history", "The controls of a row to sample name tokens outside of the history.",
          {{"row", c.historyRow}, {"length", c.historyLength}, {"rows", historyRows}, {"capacity", capacity}});
    }
    int32_t* history = historyState.integers() + c.historyRow * capacity;
    row.history = history;
    row.biases = run.tensor(biasIds_).dims[1];
    row.biasIds = run.tensor(biasIds_).integers() + index * row.biases;
    row.biasValues = run.tensor(biasValues_).floats() + index * row.biases;
    row.mask = mask_ == absent ? nullptr : run.tensor(mask_).integers() + index * run.tensor(mask_).dims[1];
    row.candidates = reinterpret_cast<Candidate*>(turn.scratch());
    row.weights = reinterpret_cast<double*>(row.candidates + row.vocabulary);
    row.keys = reinterpret_cast<float*>(row.weights + row.vocabulary);

    const int64_t count = distribution(row);
    const double uniform = uniformAt(static_cast<uint32_t>(c.seedLow), static_cast<uint32_t>(c.seedHigh),
                                     static_cast<uint32_t>(c.position));
    int64_t drawn = 0;
    for (double cumulative = 0; drawn < count - 1; drawn++) {
      cumulative += row.weights[drawn];
      if (cumulative > uniform) break;
    }
    const int32_t token = count > 0 ? row.candidates[drawn].id : noToken;
    run.tensor(ids_).integers()[index] = token;
    if (token != noToken && c.historyLength < capacity) history[c.historyLength] = token;
    if (probabilities_ != absent) {
      float* out = run.tensor(probabilities_).floats() + index * row.vocabulary;
      std::fill(out, out + row.vocabulary, 0.0F);
      for (int64_t i = 0; i < count; i++) out[row.candidates[i].id] = static_cast<float>(row.weights[i]);
    }
  }

  int32_t logits_, parameters_, controls_, biasIds_, biasValues_, history_, mask_, ids_, probabilities_;
  int64_t vocabulary_;
};

}  // namespace

std::unique_ptr<Step> readSampleStep(WordReader& reader, const Program& program) {
  return std::make_unique<SampleStep>(reader, program);
}

}  // namespace unicorn
