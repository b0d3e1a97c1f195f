/** How a caller wants a model loaded, and what the engine says about where it runs. */
import type { Backend } from '@unicorn-exec/tensor';
import {
  abortSignal,
  callback,
  choice,
  countFrom,
  either,
  flag,
  number,
  text,
  type OptionTable,
  type Rule,
} from '../option.js';
import type { BackendName } from './backends.js';

export type LoadStage = 'open' | 'weights' | 'compile' | 'ready';

export interface LoadProgress {
  readonly stage: LoadStage;
  readonly loadedBytes: number;
  readonly totalBytes: number;
}

/** What loading took. Programs are compiled later: `Engine.prepare`, or the first request. */
export interface LoadTimes {
  /** The driver and the device, what it keeps from earlier processes included. */
  readonly openMs: number;
  /** Reading weights and laying them out on the device. */
  readonly weightsMs: number;
}

/** A number of layers, `all`, or `auto`: as many as fit. */
export type GpuLayers = number | 'auto' | 'all';

/** Element types of the KV cache. */
export type KvType = 'f32' | 'f16' | 'q8_0';

export interface LoadOptions {
  /** A path to a `.gguf` file or a Hugging Face directory, or the alias `nano` (default: the bundled model). */
  readonly model?: string | undefined;
  /**
   * Default `auto`: a GPU that is real, has passed its self-test and has room for layers of the model, else the CPU;
   * `Engine.backend.gpu` says which and why. `UNICORN_AUTO_GPU=0` in the environment leaves GPUs alone. Or a backend of
   * one's own.
   */
  readonly backend?: BackendName | Backend | undefined;
  /** A device id that the backend's `probe` lists. */
  readonly device?: string | undefined;
  /**
   * Threads of a CPU device, at most as many as there are processors that the process may use: `Engine.backend` says how
   * many it became. Default: the physical cores among them. Where other programs keep processors busy, a device works
   * with fewer for that time. Results do not depend on it.
   */
  readonly threads?: number | undefined;
  /**
   * Layers, counted from the last, that run on a GPU; the others run on the CPU. `all`, or `auto` (default): as many as
   * fit in its memory. With the backend `auto` a number above 0 chooses a backend that has a GPU.
   */
  readonly gpuLayers?: GpuLayers | undefined;
  /**
   * Tokens of context of one sequence. Unless `kvTokens` says otherwise also of all together: they share it. Default: the
   * smaller of the model's and what memory allows.
   */
  readonly context?: number | undefined;
  /** Default `f16`. */
  readonly kvType?: KvType | undefined;
  /** `f32` keeps every intermediate in float32 (for comparison with references); default `fast`. */
  readonly precision?: 'f32' | 'fast' | undefined;
  /** Sequences that may be in flight at once, default 4. */
  readonly maxSequences?: number | undefined;
  /** Tokens that the KV cache holds of all sequences together. Default: `context`. */
  readonly kvTokens?: number | undefined;
  /** Requests that may wait for their turn; one more is refused with `resource/queue`. Default 256. */
  readonly maxQueued?: number | undefined;
  /**
   * Prompt tokens that one step computes at most, over all requests. Smaller ones shorten the gaps that other requests'
   * prompts make between an answer's tokens, larger ones read prompts faster. Default: the scheduler's.
   */
  readonly prefillChunk?: number | undefined;
  /**
   * Times each step of the device by itself, for `Engine.profile`. Slows decoding down, most where steps overlap
   * otherwise. Default false.
   */
  readonly profile?: boolean | undefined;
  /**
   * What becomes of requests in flight when the device is lost. `move` (default): they go on on the CPU from their tokens,
   * where another device was lost and the model fits there; `Engine.backend` and the event `moved` say so. `fail`: they
   * fail with `device/lost`, so that nothing is measured on a device that was not meant.
   */
  readonly deviceLoss?: 'move' | 'fail' | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
}

/** The name of a backend, which `openDevice` checks, or a backend. */
export const backendRule: Rule = {
  expected: 'the name of a backend, or a backend',
  accepts: (value) =>
    typeof value === 'string' ||
    (typeof value === 'object' && value !== null && 'open' in value && 'apiVersion' in value),
};

export const loadOptionTable: OptionTable<LoadOptions> = {
  model: text,
  backend: backendRule,
  device: text,
  threads: number,
  gpuLayers: either(number, choice('all', 'auto')),
  context: number,
  kvType: choice('f32', 'f16', 'q8_0'),
  precision: choice('f32', 'fast'),
  maxSequences: number,
  kvTokens: countFrom(1),
  maxQueued: countFrom(1),
  prefillChunk: countFrom(1),
  profile: flag,
  deviceLoss: choice('move', 'fail'),
  signal: abortSignal,
  onProgress: callback,
};

/** One of the devices that a model is spread over. */
export interface LayerPlace {
  /** For people. */
  readonly device: string;
  readonly layers: number;
  readonly weightBytes: number;
  readonly kvBytes: number;
}

/** A model's layers on two devices, or on another than was asked for. The first ones run on the CPU. */
export interface LayerSplit {
  /** In the order of execution; the last has the head. */
  readonly places: readonly LayerPlace[];
  /** Present when memory, not the caller, parted them. */
  readonly limitedBy?: { readonly availableBytes: number; readonly neededBytes: number };
}

/** Why a device computes that is not the first choice; a fallback announces itself. */
export interface DeviceFallback {
  /** The backend that was the choice. */
  readonly from: string;
  readonly reason: string;
  readonly fix?: string;
}

/** What `auto` did about a GPU. */
export interface GpuChoice {
  readonly taken: boolean;
  readonly backend: string;
  /** For people. Absent where it is not known which it would have been. */
  readonly device?: string;
  /** Why it was not taken: a sentence. */
  readonly reason?: string;
  readonly fix?: string;
}

export interface BackendSummary {
  /** `cpu`, `reference`, ...; `vulkan+cpu` when layers run on both. */
  readonly name: string;
  /** For people: `AMD EPYC (2 threads, avx512vnni)`. */
  readonly device: string;
  /** As the backend's `probe` lists it. */
  readonly deviceId: string;
  readonly threads?: number;
  /** Why the first choice of `auto` is not in use, or the device that was lost. */
  readonly fallback?: DeviceFallback;
  /** What `auto` did about a GPU. Absent where another backend was asked for, and where the kernel shows no GPU. */
  readonly gpu?: GpuChoice;
  /** Which layers run where, when not all run on the device that was asked for. */
  readonly split?: LayerSplit;
}
