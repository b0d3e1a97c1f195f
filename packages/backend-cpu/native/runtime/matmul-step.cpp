// Products of one activation with one or more weights, with what can be done in passing: a norm before, and bias,
// residual, gated unit and elementwise functions after. Activations are normalized and quantized once for all products:
// redundantly by each member when that is cheaper than a barrier, else in a phase of their own.

#include <algorithm>

#include "program.h"

namespace unicorn {
namespace {

constexpr int32_t absent = -1;

enum class PostKind { softcap, scale, activation, glu };

struct Post {
  PostKind kind;
  double number;  // cap, factor or Activation
  int32_t other;  // glu: the value that the activated result is multiplied with
};

struct Product {
  int32_t weight;
  int32_t up;  // of a gated unit whose gate is `weight`; or absent
  Activation gate;
  int32_t out;
  int32_t bias, residual;
  std::vector<Post> posts;
};

// Elements that one member quantizes faster (about 0.15 ns an element) than two barriers take.
constexpr int64_t redundantElements = 8192;

// Columns of results that one task makes, as groups of 16. Many rows: a panel of weights that stays in L1/L2 while all
// rows of the tile pass by it. One row: chosen from the number of members, for balance.
constexpr int64_t panelGroups = 4;
constexpr int64_t tileRows = 120;  // a multiple of the 12 and 4 rows that the kernels take at a time

// Floats of a member's temporary tile, of which gated units have two: stays in L2.
constexpr int64_t tileFloats = 16384;

int64_t align64(int64_t bytes) { return (bytes + 63) / 64 * 64; }

// A weight operand that is not a stored weight: an ordinary dense tensor.
Matrix asMatrix(const Tensor& tensor) {
  Matrix matrix;
  matrix.dtype = tensor.dtype;
  matrix.data = tensor.data;
  matrix.columns = matrix.storedColumns = tensor.last();
  matrix.rows = tensor.rows();
  matrix.rowStrideBytes = rowBytes(tensor.dtype, matrix.columns);
  return matrix;
}

class MatmulStep final : public Step {
 public:
  MatmulStep(WordReader& reader, const Program& program) {
    x_ = reader.index();
    quantized_ = reader.flag();
    normalized_ = reader.flag();
    if (normalized_) {
      normWeight_ = reader.index();
      epsilon_ = static_cast<float>(reader.number());
      weightOffset_ = static_cast<float>(reader.number());
    }
    const int64_t products = reader.integer();
    for (int64_t i = 0; i < products; i++) {
      Product product{};
      product.weight = reader.index();
      product.up = reader.index();
      product.gate = static_cast<Activation>(reader.integer());
      product.out = reader.index();
      product.bias = reader.index();
      product.residual = reader.index();
      const int64_t posts = reader.integer();
      for (int64_t j = 0; j < posts; j++) {
        const std::string& kind = reader.name();
        Post post{};
        post.kind = kind == "softcap"      ? PostKind::softcap
                    : kind == "scale"      ? PostKind::scale
                    : kind == "activation" ? PostKind::activation
                                           : PostKind::glu;
        post.number = reader.number();
        post.other = reader.index();
        product.posts.push_back(post);
      }
      products_.push_back(std::move(product));
    }
    columns_ = program.maximumDim(x_, program.values[static_cast<size_t>(x_)].dims.size() - 1);
  }

  int prepare(Run& run, int) const override { return inOnePhase(run.tensor(x_).rows()) ? 1 : 2; }

  void phase(Turn& turn) const override {
    const Tensor& x = turn.run.tensor(x_);
    const int64_t rows = x.rows();
    if (rows == 0) return;
    if (inOnePhase(rows)) {
      uint8_t* activations = turn.scratch();
      if (prepared()) transform(turn, x, activations, 0, rows, activations + align64(rows * activationBytes()));
      multiply(turn, x, activations);
      return;
    }
    uint8_t* activations = turn.run.sharedScratch();
    if (turn.phase == 1) {
      multiply(turn, x, activations);
      return;
    }
    const int64_t chunk = std::clamp<int64_t>(rows / (turn.run.members() * 4), 1, 16);
    int64_t begin, end;
    while (turn.claim(rows, chunk, begin, end)) transform(turn, x, activations, begin, end, turn.scratch());
  }

  int64_t memberBytes(const Program& program) const override {
    // One phase: the rows themselves and their inverse norms; then the tiles, and what the kernels unpack or pack into.
    const int64_t few = std::max<int64_t>(1, redundantElements / std::max<int64_t>(1, columns_));
    return align64(few * activationBytes()) + 64 + inverseBytes + 2 * tileFloats * 4 +
           align64(kernelScratchBytes(program));
  }

  int64_t sharedBytes(const Program& program) const override {
    return prepared() ? program.maximumRows(x_) * activationBytes() : 0;
  }

 private:
  static constexpr int64_t inverseBytes = 16 * 4;  // of the rows that `transform` takes at a time

  // Whether the activations differ from x as it lies in memory.
  bool prepared() const { return quantized_ || normalized_; }
  bool inOnePhase(int64_t rows) const { return !prepared() || rows == 1 || rows * columns_ <= redundantElements; }
  int64_t activationBytes() const { return quantized_ ? activationRowBytes(columns_) : align64(columns_ * 4); }

  Matrix weight(const Run& run, int32_t value) const {
    return run.isMatrix(value) ? run.matrix(value) : asMatrix(run.tensor(value));
  }

  // Rows [begin, end) of x, normalized and quantized, into the buffer `out` of all rows. `scratch`: 16 floats.
  void transform(Turn& turn, const Tensor& x, uint8_t* out, int64_t begin, int64_t end, uint8_t* scratch) const {
    const Kernels& kernels = turn.run.kernels;
    const float* weight = normalized_ && normWeight_ != absent ? turn.run.tensor(normWeight_).floats() : nullptr;
    float* inverse = reinterpret_cast<float*>(scratch);
    for (int64_t first = begin; first < end; first += 16) {
      const int64_t last = std::min(end, first + 16);
      const float* source = x.floats() + first * columns_;
      uint8_t* target = out + first * activationBytes();
      if (!normalized_) {
        kernels.quantize(source, columns_, columns_, 0, last - first, target);
        continue;
      }
      kernels.inverseRms(source, columns_, columns_, epsilon_, 0, last - first, inverse);
      if (quantized_) {
        kernels.quantizeNorm(source, columns_, columns_, inverse, weight, weightOffset_, 0, last - first, target);
        continue;
      }
      for (int64_t row = 0; row < last - first; row++) {
        const float* in = source + row * columns_;
        float* line = reinterpret_cast<float*>(target + row * activationBytes());
        for (int64_t i = 0; i < columns_; i++) {
          line[i] = weight != nullptr ? in[i] * inverse[row] * (weightOffset_ + weight[i]) : in[i] * inverse[row];
        }
      }
    }
  }

  void multiply(Turn& turn, const Tensor& x, const uint8_t* activations) const {
    const int64_t rows = x.rows();
    // The tasks of all products in one list: product by product, panel by panel, tile by tile of rows.
    std::vector<int64_t> ends;
    ends.reserve(products_.size());
    int64_t total = 0;
    int64_t groups = 0;
    for (const Product& product : products_) groups += groupsOf(turn.run, product);
    const int64_t tiles = (rows + tileRows - 1) / tileRows;
    // Few rows: about eight tasks a member, so that a late one does not hold up the rest.
    const int64_t balanced = std::max<int64_t>(1, groups / (turn.run.members() * 8));
    const int64_t most = tileFloats / groupRows / std::min(rows, tileRows);
    const int64_t panel = rows >= 8 ? std::min<int64_t>(panelGroups, most) : std::min(balanced, most);
    for (const Product& product : products_) {
      total += (groupsOf(turn.run, product) + panel - 1) / panel * tiles;
      ends.push_back(total);
    }
    int64_t begin, end;
    while (turn.claim(total, 1, begin, end)) {
      size_t at = 0;
      while (begin >= ends[at]) at++;
      const Product& product = products_[at];
      const int64_t task = begin - (at == 0 ? 0 : ends[at - 1]);
      const int64_t group = task / tiles * panel;
      const int64_t row = task % tiles * tileRows;
      compute(turn, product, x, activations, {row, std::min(rows, row + tileRows)},
              {group, std::min(groupsOf(turn.run, product), group + panel)});
    }
  }

  int64_t groupsOf(const Run& run, const Product& product) const {
    if (!run.isMatrix(product.weight)) return groupCount(run.tensor(product.weight).rows());
    const Matrix& matrix = run.matrix(product.weight);
    return groupCount(matrix.rows + matrix.rowShift);
  }

  struct Range {
    int64_t begin, end;
    int64_t count() const { return end - begin; }
  };

  // One task: results of `rows` and of the weight rows in `groups`.
  void compute(Turn& turn, const Product& product, const Tensor& x, const uint8_t* activations, Range rows,
               Range groups) const {
    const Run& run = turn.run;
    const Matrix matrix = weight(run, product.weight);
    const int64_t n = matrix.rows;
    float* out = run.tensor(product.out).floats();
    const float* bias = product.bias == absent ? nullptr : run.tensor(product.bias).floats();
    const float* residual = product.residual == absent ? nullptr : run.tensor(product.residual).floats();
    // Result columns of the task.
    const Range columns{std::max<int64_t>(0, groups.begin * groupRows - matrix.rowShift),
                        std::min(n, groups.end * groupRows - matrix.rowShift)};
    if (columns.begin >= columns.end) return;
    uint8_t* tiles = turn.scratch() + memberTileOffset();
    float* tile = reinterpret_cast<float*>(tiles);
    float* upTile = tile + tileFloats;
    uint8_t* scratch = tiles + 2 * tileFloats * 4;
    const bool shifted = matrix.rowShift != 0;
    const bool gated = product.up != absent;
    float* first = out + rows.begin * n + columns.begin;
    if (!shifted && !gated) {
      Epilogue epilogue;
      epilogue.bias = bias == nullptr ? nullptr : bias + columns.begin;
      epilogue.residual = residual == nullptr ? nullptr : residual + rows.begin * n + columns.begin;
      epilogue.residualStride = n;
      call(run, matrix, x, activations, rows, groups, first, n, epilogue, scratch);
    } else {
      const int64_t stride = groups.count() * groupRows;
      call(run, matrix, x, activations, rows, groups, tile, stride, {}, scratch);
      if (gated) {
        call(run, weight(run, product.up), x, activations, rows, groups, upTile, stride, {}, scratch);
      }
      const float* source = tile + (columns.begin + matrix.rowShift - groups.begin * groupRows);
      for (int64_t row = 0; row < rows.count(); row++) {
        float* target = first + row * n;
        const float* line = source + row * stride;
        if (gated) {
          run.kernels.activateMultiply(product.gate, line, upTile + row * stride, columns.count(), target);
        } else {
          for (int64_t i = 0; i < columns.count(); i++) {
            float value = line[i];
            if (bias != nullptr) value += bias[columns.begin + i];
            if (residual != nullptr) value += residual[(rows.begin + row) * n + columns.begin + i];
            target[i] = value;
          }
        }
      }
    }
    for (const Post& post : product.posts) {
      for (int64_t row = 0; row < rows.count(); row++) {
        apply(run, post, first + row * n, columns.count(), (rows.begin + row) * n + columns.begin);
      }
    }
  }

  static void apply(const Run& run, const Post& post, float* line, int64_t count, int64_t at) {
    switch (post.kind) {
      case PostKind::softcap: run.kernels.softcap(static_cast<float>(post.number), line, count, line); return;
      case PostKind::scale:
        for (int64_t i = 0; i < count; i++) line[i] = static_cast<float>(line[i] * post.number);
        return;
      case PostKind::activation: run.kernels.activate(static_cast<Activation>(post.number), line, count, line); return;
      case PostKind::glu:
        run.kernels.activateMultiply(static_cast<Activation>(post.number), line, run.tensor(post.other).floats() + at,
                                     count, line);
        return;
    }
  }

  int64_t memberTileOffset() const {
    const int64_t few = std::max<int64_t>(1, redundantElements / std::max<int64_t>(1, columns_));
    return align64(few * activationBytes()) + 64 + inverseBytes;
  }

  // The kernel over a part of the weight and of the rows; `out` is the part's first element.
  void call(const Run& run, const Matrix& matrix, const Tensor& x, const uint8_t* activations, Range rows, Range groups,
            float* out, int64_t outStride, const Epilogue& epilogue, uint8_t* scratch) const {
    const int64_t rowsLeft = matrix.rows + matrix.rowShift - groups.begin * groupRows;
    const int64_t weightRows = std::min(rowsLeft, groups.count() * groupRows);
    const int64_t groupStep = matrix.form == WeightForm::packed ? packedGroupBytes(matrix.dtype, matrix.storedColumns)
                                                                : groupRows * matrix.rowStrideBytes;
    const uint8_t* weights = matrix.data + groups.begin * groupStep;
    if (quantized_) {
      run.kernels.matmulQuantized(
          {activations + rows.begin * activationBytes(), weights, matrix.dtype, matrix.form, matrix.rowStrideBytes,
           matrix.columns, matrix.storedColumns, weightRows, out, outStride, epilogue},
          0, rows.count(), 0, groups.count(), scratch);
      return;
    }
    const float* lines = prepared() ? reinterpret_cast<const float*>(activations + rows.begin * activationBytes())
                                    : x.floats() + rows.begin * columns_;
    const int64_t stride = prepared() ? activationBytes() / 4 : columns_;
    run.kernels.matmulFloat({lines, stride, weights, matrix.dtype, matrix.form, matrix.rowStrideBytes, matrix.columns,
                             matrix.storedColumns, weightRows, out, outStride, epilogue},
                            0, rows.count(), 0, groups.count(), scratch);
  }

  int64_t kernelScratchBytes(const Program& program) const {
    int64_t bytes = 0;
    for (const Product& product : products_) {
      for (const int32_t value : {product.weight, product.up}) {
        if (value == absent) continue;
        const Value& stored = program.values[static_cast<size_t>(value)];
        const DType dtype = stored.isMatrix ? stored.matrix.dtype : stored.dtype;
        const WeightForm form = stored.isMatrix ? stored.matrix.form : WeightForm::raw;
        if (quantized_) {
          QuantizedMatmul call{};
          call.dtype = dtype;
          call.form = form;
          call.columns = columns_;
          bytes = std::max(bytes, program.kernels.matmulQuantizedScratchBytes(call));
          continue;
        }
        FloatMatmul call{};
        call.dtype = dtype;
        call.form = form;
        call.columns = columns_;
        bytes = std::max(bytes, program.kernels.matmulFloatScratchBytes(call));
      }
    }
    return bytes;
  }

  int32_t x_;
  bool quantized_;
  bool normalized_;
  int32_t normWeight_ = absent;
  float epsilon_ = 0;
  float weightOffset_ = 0;
  int64_t columns_;
  std::vector<Product> products_;
};

}  // namespace

std::unique_ptr<Step> readMatmulStep(WordReader& reader, const Program& program) {
  return std::make_unique<MatmulStep>(reader, program);
}

}  // namespace unicorn
