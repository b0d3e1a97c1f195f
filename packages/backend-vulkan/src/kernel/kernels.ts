/** All kernels by noun, and the memory that some need beside their operands. */
import type { KernelTable } from '../lowering/kernel-table.js';
import {
  attention,
  attentionCounterBytes,
  attentionQuantizes,
  attentionScratchBytes,
  attentionTakesHeads,
} from './attention.js';
import { add, multiply } from './broadcast.js';
import { activation, altUpInject, glu, scale, softcap } from './elementwise.js';
import { embed } from './embed.js';
import { heads } from './heads.js';
import { kvWrite } from './kv-write.js';
import { matmul, matmulCounterBytes, matmulScratchBytes } from './matmul.js';
import { acceptsPrepared } from './matmul-handoff.js';
import { concat, copy, slice, takeRows } from './move.js';
import { gaussianTopK, matchRms, rmsNorm } from './norm.js';
import { rope, ropeTable } from './rope.js';
import { sample, sampleScratchBytes } from './sample.js';
import { altUpCorrect, altUpPredict, mean } from './stream.js';

export const kernelTable: KernelTable = {
  kernels: {
    matmul,
    embed,
    rmsNorm,
    matchRms,
    ropeTable,
    rope,
    kvWrite,
    heads,
    attention,
    activation,
    glu,
    softcap,
    gaussianTopK,
    add,
    multiply,
    scale,
    mean,
    altUpPredict,
    altUpCorrect,
    altUpInject,
    slice,
    concat,
    takeRows,
    copy,
    sample,
  },
  memory: {
    matmul: { scratchBytes: matmulScratchBytes, counterBytes: matmulCounterBytes },
    attention: { scratchBytes: attentionScratchBytes, counterBytes: attentionCounterBytes },
    sample: { scratchBytes: sampleScratchBytes },
  },
  attentionTakesHeads,
  handoff: { accepts: acceptsPrepared, fromAttention: attentionQuantizes },
};
