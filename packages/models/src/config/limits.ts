/**
 * Bounds on what a checkpoint's configuration may say, each far above anything published. They keep a hostile number
 * (2^40 layers) from becoming an allocation before the weights are looked at.
 */
export interface Range {
  readonly min: number;
  readonly max: number;
}

/** The largest published decoder has 126 layers (Llama 3.1 405B). */
export const layersRange: Range = { min: 1, max: 1024 };

/** Llama 3.1 405B: 16,384. */
export const hiddenRange: Range = { min: 1, max: 2 ** 17 };

/** Llama 3.1 405B: 128 heads. */
export const headsRange: Range = { min: 1, max: 4096 };

/** Gemma: 256. */
export const headDimRange: Range = { min: 2, max: 4096 };

/** Llama 3.1 405B: 53,248. */
export const feedForwardRange: Range = { min: 1, max: 2 ** 21 };

/** Gemma 3: 262,208. */
export const vocabularyRange: Range = { min: 1, max: 2 ** 24 };

/** Positions are i32. */
export const contextRange: Range = { min: 1, max: 2 ** 31 - 1 };

/** Frequencies of rope are powers of it. Published: 1e4 to 5e6. */
export const thetaRange: Range = { min: 1, max: 1e12 };

export const factorRange: Range = { min: 1e-6, max: 1e6 };

/** Below 1e-12 f32 rounding swallows it; above 1 a norm no longer norms. */
export const epsilonRange: Range = { min: 0, max: 1 };

export const softcapRange: Range = { min: 1e-3, max: 1e6 };
