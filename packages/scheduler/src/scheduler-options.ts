/** What a scheduler is made of, and the numbers among it that are its own. Those of memory are the KV plan's to check. */
import {
  UnicornError,
  type Device,
  type DType,
  type LanguageModel,
  type Precision,
  type WeightSet,
} from '@unicorn-exec/tensor';
import { maxStepsAhead } from './step/program.js';

/** A device and the model's weights on it. Both stay the caller's. */
export interface LoadedDevice {
  readonly device: Device;
  readonly weights: WeightSet;
}

export interface SchedulerOptions extends LoadedDevice {
  readonly model: LanguageModel;
  /** Positions of one sequence. Default: the model's. */
  readonly contextLength?: number | undefined;
  /** Default f16 where the device has it, else f32. */
  readonly kvDType?: DType | undefined;
  /** Sequences that run at once; others wait. Default 1. */
  readonly maxSequences?: number | undefined;
  /** Prompt tokens of one step, over all sequences. Default 512. */
  readonly prefillChunk?: number | undefined;
  /** Default `fast` where the device has it. */
  readonly precision?: Precision | undefined;
  /** Tokens of one KV block. Default 16. */
  readonly blockTokens?: number | undefined;
  /** Tokens that a KV group without a window holds, over all sequences. Default `contextLength`. */
  readonly kvTokens?: number | undefined;
  /** Requests that may wait; one more is refused with `resource/queue`. Default 256. */
  readonly maxQueued?: number | undefined;
  /**
   * Steps that may be submitted before the tokens of the one before them are known, where the device takes them from
   * its own memory: the device then never waits for the host. Changes no token. 0 to 2, default 2.
   */
  readonly stepsAhead?: number | undefined;
  /**
   * Called when the device is lost with all that is on it, after the scheduler has freed its part. Gives a device that takes over, with the weights loaded, on
   * which generations go on from their tokens; so do sequences to score, unless their rows were handed out. Where it
   * rejects, all jobs fail with that, and the next request causes another call. Absent: jobs of the lost device fail.
   */
  readonly onDeviceLost?: ((error: UnicornError) => Promise<LoadedDevice>) | undefined;
  /** Collects the time of each device step; read it from `Scheduler.profile`. */
  readonly profile?: boolean | undefined;
  /** Milliseconds from any origin, for timings and for the choice of drafts. Default `performance.now`. */
  readonly clock?: (() => number) | undefined;
}

/** @throws UnicornError `usage/scheduler-option` for a number out of range */
export function checkLimits({ maxQueued = 256, stepsAhead = maxStepsAhead }: SchedulerOptions): {
  readonly maxQueued: number;
  readonly stepsAhead: number;
} {
  if (!Number.isSafeInteger(maxQueued) || maxQueued < 1) {
    throw new UnicornError(
      'usage/scheduler-option',
      `maxQueued must be a whole number from 1, not ${maxQueued}.`,
    );
  }
  if (!Number.isSafeInteger(stepsAhead) || stepsAhead < 0 || stepsAhead > maxStepsAhead) {
    throw new UnicornError(
      'usage/scheduler-option',
      `stepsAhead must be a whole number from 0 to ${maxStepsAhead}, not ${stepsAhead}.`,
    );
  }
  return { maxQueued, stepsAhead };
}
