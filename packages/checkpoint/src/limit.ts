/**
 * Limits on what a file may ask of its reader, each far above anything published and far below what a machine can bear.
 * They bound memory where the size of the file alone would not: a sparse file can claim gigabytes of header.
 */

/**
 * Bytes of a GGUF header (metadata and tensor table). The largest published vocabulary has 262,144 tokens: about 4 MB
 * of strings, 2 MB of scores and types, and for byte-level BPE twice the strings again as merges. Ten times 12 MB.
 */
export const GGUF_HEADER_BYTES_MAX = 128 * 2 ** 20;

/** Bytes of a safetensors header: the limit of the format's reference implementation. */
export const SAFETENSORS_HEADER_BYTES_MAX = 100_000_000;

/** Bytes of a `*.index.json`: 100 to 150 bytes a tensor; the largest known has 90,000. */
export const INDEX_BYTES_MAX = 64 * 2 ** 20;

/** Tensors of one file. Mixtures of experts reach 90,000 when each expert is a tensor of its own. */
export const TENSORS_MAX = 2 ** 18;

/** Metadata keys of one file; real ones have some dozens. */
export const METADATA_KEYS_MAX = 2 ** 16;

/** Elements of one metadata array: sixteen times the largest vocabulary. */
export const METADATA_ARRAY_MAX = 2 ** 22;

/** Bytes of a metadata key or a tensor name: the limit of the GGUF specification for keys. */
export const NAME_BYTES_MAX = 65_535;

/** Dimensions of a GGUF tensor (GGML_MAX_DIMS). */
export const GGUF_RANK_MAX = 4;

/** Dimensions of a safetensors tensor: the format has no limit, numpy's is 64. */
export const SAFETENSORS_RANK_MAX = 64;

/** Parts of a split GGUF, each an open file. The largest published models have some 200. */
export const SPLIT_PARTS_MAX = 1024;
