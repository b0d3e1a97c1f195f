// Arrays at addresses that push constants hold, for all kernels but those of weights in planes. Scalars throughout: bound
// memory may begin at any multiple of 4 bytes, and neighbours that read neighbours fill whole cache lines all the same.
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_scalar_block_layout : require
#extension GL_EXT_shader_explicit_arithmetic_types_int8 : require
#extension GL_EXT_shader_explicit_arithmetic_types_int16 : require
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_8bit_storage : require

// Set by chain.glsl.
#ifndef CHAIN_SHARED
#define CHAIN_SHARED
#endif

layout(buffer_reference, scalar, buffer_reference_align = 4) readonly buffer FloatsIn {
  CHAIN_SHARED float at[];
};
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer Floats {
  CHAIN_SHARED float at[];
};
layout(buffer_reference, scalar, buffer_reference_align = 4) readonly buffer IntsIn {
  CHAIN_SHARED int at[];
};
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer Ints {
  CHAIN_SHARED int at[];
};
layout(buffer_reference, scalar, buffer_reference_align = 4) readonly buffer WordsIn {
  CHAIN_SHARED uint at[];
};
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer Words {
  CHAIN_SHARED uint at[];
};
layout(buffer_reference, scalar, buffer_reference_align = 4) readonly buffer HalvesIn {
  CHAIN_SHARED uint16_t at[];
};
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer Halves {
  CHAIN_SHARED uint16_t at[];
};
layout(buffer_reference, scalar, buffer_reference_align = 4) readonly buffer BytesIn {
  CHAIN_SHARED uint8_t at[];
};
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer Bytes {
  CHAIN_SHARED uint8_t at[];
};

#define infinity uintBitsToFloat(0x7f800000u)

// Looks at the bits, since a comparison of a float with itself may be folded away.
bool isNaN(float x) {
  return (floatBitsToUint(x) & 0x7fffffffu) > 0x7f800000u;
}
