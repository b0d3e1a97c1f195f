#include "reference.h"

#include <cmath>

namespace unicorn::reference {

void quantize(const float* x, int64_t columns, ActivationBlock* out) {
  for (int64_t start = 0; start < columns; start += 32, out++) {
    float largest = 0;
    bool finite = true;
    for (int i = 0; i < 32; i++) {
      finite = finite && std::isfinite(x[start + i]);
      largest = std::fmax(largest, std::fabs(x[start + i]));
    }
    const bool zero = !finite || largest < 1e-30f;
    const float inverse = zero ? 0 : 127.0f / largest;
    int sum = 0;
    int low = 0;
    for (int i = 0; i < 32; i++) {
      const int quant = zero ? 0 : static_cast<int>(std::nearbyint(x[start + i] * inverse));
      out->quants[i] = static_cast<int8_t>(quant);
      sum += quant;
      if (i < 16) low += quant;
    }
    out->scale = !finite ? NAN : zero ? 0 : largest / 127.0f;
    out->scaledSum = out->scale * static_cast<float>(sum);
    out->negativeSum = -sum;
    out->negativeSumLow = -low;
  }
}

double activation(const ActivationBlock* row, int64_t column) {
  return static_cast<double>(row[column / 32].scale) * row[column / 32].quants[column % 32];
}

Dot dot(const double* a, const float* w, int64_t columns) {
  Dot result = {0, 0};
  for (int64_t k = 0; k < columns; k++) {
    result.sum += a[k] * w[k];
    result.magnitude += std::fabs(a[k] * w[k]);
  }
  return result;
}

void attention(const Attention& call, double* out) {
  const int64_t stride = rowBytes(call.stateDType, call.headDim);
  std::vector<float> line(static_cast<size_t>(call.headDim));
  std::vector<double> scores, sums;
  for (int64_t s = 0; s < call.sequences; s++) {
    const int64_t end = s + 1 < call.sequences ? call.starts[s + 1] : call.rows;
    for (int64_t row = call.starts[s]; row < end; row++) {
      const int64_t position = call.positions[row];
      const int64_t first = call.window == 0 ? 0 : std::max<int64_t>(0, position - call.window + 1);
      const int64_t last = call.reach ? call.reach[row] : position;
      for (int64_t head = 0; head < call.heads; head++) {
        const int64_t kvHead = head / (call.heads / call.kvHeads);
        const float* query = call.query + (row * call.heads + head) * call.headDim;
        const auto read = [&](int64_t key, int64_t part) {
          const int64_t block = call.blockTables[s * call.tableColumns + key / call.blockTokens];
          const int64_t at = ((block * 2 + part) * call.kvHeads + kvHead) * call.blockTokens + key % call.blockTokens;
          decodeRow(call.stateDType, call.state + at * stride, call.headDim, line.data());
        };
        scores.clear();
        double top = -INFINITY;
        for (int64_t key = first; key <= last; key++) {
          read(key, 0);
          double score = 0;
          for (int64_t d = 0; d < call.headDim; d++) score += static_cast<double>(query[d]) * line[d];
          score *= call.scale;
          if (call.softcap != 0) score = call.softcap * std::tanh(score / call.softcap);
          scores.push_back(score);
          top = std::fmax(top, score);
        }
        double total = 0;
        sums.assign(static_cast<size_t>(call.headDim), 0);
        for (int64_t key = first; key <= last; key++) {
          const double weight = std::exp(scores[static_cast<size_t>(key - first)] - top);
          total += weight;
          read(key, 1);
          for (int64_t d = 0; d < call.headDim; d++) sums[static_cast<size_t>(d)] += weight * line[d];
        }
        for (int64_t d = 0; d < call.headDim; d++) {
          out[(row * call.heads + head) * call.headDim + d] = sums[static_cast<size_t>(d)] / total;
        }
      }
    }
  }
}

double activate(Activation f, double x) {
  switch (f) {
    case Activation::silu: return x / (1 + std::exp(-x));
    case Activation::geluTanh: return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::relu: return x > 0 ? x : x == x ? 0 : x;
    case Activation::tanh: return std::tanh(x);
    case Activation::sigmoid: return 1 / (1 + std::exp(-x));
  }
  return x;
}

void causalConv(const CausalConv& call, double* out) {
  for (int64_t row = 0; row < call.rows; row++) {
    for (int64_t c = 0; c < call.channels; c++) {
      double sum = 0;
      for (int64_t i = 0; i < call.width; i++) {
        const int64_t from = row - call.width + 1 + i;
        double input = 0;
        if (from >= 0) {
          input = call.x[from * call.stride + c];
        } else if (call.before != nullptr) {
          input = call.before[(from + call.width - 1) * call.stride + c];
        }
        sum += input * call.weight[i * call.weightStride + c];
      }
      out[row * call.channels + c] = sum;
    }
  }
}

void gatedDelta(const GatedDelta& call, double* state, double* out) {
  for (int64_t row = 0; row < call.rows; row++) {
    const double factor = std::exp(static_cast<double>(call.decay[row * call.gateStride]));
    const double beta = call.beta[row * call.gateStride];
    const float* key = call.key + row * call.keyStride;
    const float* query = call.query + row * call.keyStride;
    for (int64_t j = 0; j < call.valueDim; j++) {
      double recalled = 0;
      for (int64_t i = 0; i < call.keyDim; i++) recalled += factor * state[i * call.valueDim + j] * key[i];
      const double correction = beta * (call.value[row * call.valueStride + j] - recalled);
      double sum = 0;
      for (int64_t i = 0; i < call.keyDim; i++) {
        double& s = state[i * call.valueDim + j];
        s = factor * s + key[i] * correction;
        sum += s * query[i];
      }
      out[row * call.valueDim + j] = sum;
    }
  }
}

}  // namespace unicorn::reference
