// The arguments that all forms of the product share, and the functions of a result. The twin of src/kernel/matmul-product.ts.
#include "include/memory.glsl"
#include "include/function.glsl"
#include "include/weights.glsl"

// Arguments of one product, or of up to three over the same activations: those of the second and third lie in members that
// only a single product uses otherwise. They take 124 bytes; every device has 128.
layout(push_constant, scalar) uniform Arguments {
  // Activations: f32 rows, or what matmul-prepare made of them.
  Vectors x;
  Vectors weight;
  // f32 [tokens, rows]
  Floats result;
  FloatsIn bias;
  // The second weight of a gated pair; for several products the second's weight.
  Vectors up;
  // For several products the second's result, as `Floats`.
  FloatsIn residual;
  // The other operand of a post that is a gated unit: f32 [tokens, rows]. For several products the second's bias.
  FloatsIn other;
  Vectors thirdWeight;
  Floats thirdResult;
  FloatsIn thirdBias;
  uint tokens;
  // Size and place of the part of the weight that is read.
  uint columns;
  uint rows;
  uint rowStart;
  // Rows of the whole weight.
  uint storedRows;
  // The stride of a row in elements. For several products, which take whole rows, the second's rows.
  uint storedColumns;
  // For several products the second's rowStart.
  uint columnStart;
  // For several products the second's storedRows.
  uint upRowStart;
  // Numbers of the two posts, as floats; for several products the third's rows and rowStart.
  uint firstNumber;
  uint secondNumber;
  uint thirdStoredRows;
};

#define POST_NONE 0u
#define POST_SOFTCAP 1u
#define POST_SCALE 2u
// The activation is added to these two.
#define POST_ACTIVATION 16u
#define POST_GLU 32u

// POST_GLU plus the activation for a gated pair; else POST_NONE.
layout(constant_id = 1) const uint gate = POST_NONE;
layout(constant_id = 2) const bool hasBias = false;
layout(constant_id = 3) const bool hasResidual = false;
layout(constant_id = 4) const uint firstPost = POST_NONE;
layout(constant_id = 5) const uint secondPost = POST_NONE;

// One of the products of a dispatch.
struct Product {
  Vectors weight;
  Floats result;
  FloatsIn bias;
  uint rows;
  uint rowStart;
  uint storedRows;
};

// The product of a dispatch of one, or the first.
Product firstProduct() {
  return Product(weight, result, bias, rows, rowStart, storedRows);
}

// The second or third product of a dispatch of several.
Product laterProduct(bool third) {
#if CHAINED
  if (third) return Product(thirdWeight, thirdResult, thirdBias, firstNumber, 0, firstNumber);
  return Product(up, Floats(residual), other, storedColumns, 0, storedColumns);
#else
  if (third) return Product(thirdWeight, thirdResult, thirdBias, firstNumber, secondNumber, thirdStoredRows);
  return Product(up, Floats(residual), other, storedColumns, columnStart, upRowStart);
#endif
}

// Runs of `length` rows, each in one of the first `products` products.
uint runsOf(uint products, uint length) {
  uint runs = (rows + length - 1) / length;
  for (uint i = 1; i < products; i++) runs += (laterProduct(i == 2).rows + length - 1) / length;
  return runs;
}

// The product that a run is in; the run's number becomes the one in it.
Product productOf(uint products, uint length, inout uint run) {
  Product product = firstProduct();
  uint runs = (product.rows + length - 1) / length;
  if (products > 1 && run >= runs) {
    run -= runs;
    product = laterProduct(false);
    runs = (product.rows + length - 1) / length;
    if (products > 2 && run >= runs) {
      run -= runs;
      product = laterProduct(true);
    }
  }
  return product;
}

#if CHAINED
// Arguments of the chained variant lie where products of whole matrices have what they do not need.
Chain chainOf(uint products) {
  return products > 1 ? Chain(uvec2(columnStart, upRowStart)) : Chain(thirdWeight);
}
#define chainBefore thirdStoredRows
#endif

// A result of a sum of products; `upValue` is the second sum of a gated pair.
float finished(Product product, uint token, uint row, float value, float upValue) {
  uint index = token * product.rows + row;
  precise float sum = value;
  // A loop, so that the code of the functions is there once; its kinds are constants, so the compiler removes it.
  for (uint stage = 0; stage < 3; stage++) {
    uint post = stage == 0 ? gate : stage == 1 ? firstPost : secondPost;
    float number = uintBitsToFloat(stage == 1 ? firstNumber : secondNumber);
    if (post == POST_SOFTCAP) sum = softcapped(sum, number);
    if (post == POST_SCALE) sum = sum * number;
    if (post >= POST_ACTIVATION) {
      sum = activate(post & 15u, sum);
      if (post >= POST_GLU) sum = sum * (stage == 0 ? upValue : other.at[index]);
    }
    if (stage == 0 && hasBias) sum = sum + product.bias.at[row];
    if (stage == 0 && hasResidual) sum = sum + residual.at[index];
  }
  return sum;
}

void finish(Product product, uint token, uint row, float value, float upValue) {
  product.result.at[token * product.rows + row] = finished(product, token, row, value, upValue);
}

void finish(uint token, uint row, float value, float upValue) {
  finish(firstProduct(), token, row, value, upValue);
}

// An invocation's place in its workgroup such that neighbours are neighbours in a subgroup.
uint placeInGroup() {
  return gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID;
}
