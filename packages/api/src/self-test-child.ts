/**
 * The process of a self-test, `node self-test-child.js BACKEND [--software]`: the bundled model on the backend's first real
 * device, held to the CPU. It writes lines of JSON (`SelfTestLine`) on stdout. A prompt of many rows, an answer row by row
 * and logits of both are compared, so that products, attention and the KV cache of each have been through.
 */
import { writeSync } from 'node:fs';
import { isUnicornError } from '@unicorn-exec/tensor';
import { Engine } from './engine.js';
import { knownBackends } from './machine/backends.js';
import type { SelfTestLine, SelfTestVerdict, TestedDevice } from './machine/self-test.js';
import { largestRowError } from './machine/row-error.js';

const prompt =
  'Once upon a time there was a small machine in a big house. It could count, and one day it said: ';
const answerTokens = 12;

/**
 * Of the length of a row of logits. Quantized activations, which differ between devices, move it by some hundredths; a
 * kernel that computes something else gives about 1.
 */
const tolerance = 0.15;

// Written before what may crash begins.
const say = (line: SelfTestLine): void => void writeSync(1, `${JSON.stringify(line)}\n`);

async function test(backend: string, acceptSoftware: boolean): Promise<SelfTestVerdict> {
  say({ stage: 'listing devices' });
  const known = knownBackends.find(({ name }) => name === backend);
  if (!known) return { passed: false, reason: `There is no backend "${backend}".` };
  const listed = await (await known.load()).probe();
  const usable = listed.find((one) => one.usable && (acceptSoftware || !one.info.hardware?.isSoftware));
  if (!usable?.usable) {
    const lack = listed.find((one) => !one.usable);
    if (lack && !lack.usable)
      return { passed: false, reason: lack.reason, ...(lack.fix ? { fix: lack.fix } : {}) };
    return {
      passed: false,
      reason:
        'Only a software rasterizer is there, which computes on the CPU: the driver of the GPU is not installed.',
      ...(known.driverFix === undefined ? {} : { fix: known.driverFix }),
    };
  }
  const { info, id } = usable;
  const device: TestedDevice = {
    uuid: info.hardware?.uuid ?? id,
    name: info.name,
    driver: info.hardware?.driver ?? '',
  };
  say({ stage: 'opening the device', device });
  const options = { context: 256, maxSequences: 1, deviceLoss: 'fail' } as const;
  const tested = await Engine.load({ ...options, backend: known.name, device: id, gpuLayers: 'all' });
  say({ stage: 'computing' });
  const tokens = await tested.promptTokens({ prompt });
  const request = { prompt, maxTokens: answerTokens, sampling: { temperature: 0 } };
  for await (const chunk of tested.generate(request)) tokens.push(...chunk.tokens);
  const [got] = await tested.forward([tokens], { logits: 'all' });
  await tested.close();
  say({ stage: 'computing the same on the CPU' });
  const host = await Engine.load({ ...options, gpuLayers: 0 });
  const [expected] = await host.forward([tokens], { logits: 'all' });
  const length = (await host.promptTokens({ prompt })).length;
  await host.close();
  const error = largestRowError(got!.logits!, expected!.logits!, tokens.length);
  // The chosen token is compared with the logits of the whole: those of another path through the device.
  const miss = largestMiss(tokens, length, expected!.logits!);
  if (error <= tolerance && miss <= tolerance) return { passed: true, device };
  const what =
    error <= tolerance
      ? 'tokens of an answer that the CPU would not choose'
      : `logits that are off by ${(100 * error).toFixed(0)} % of their size`;
  return {
    passed: false,
    device,
    reason: `${device.name} failed its self-test: ${what}.`,
    fix: 'Install a newer driver, then: unicorn doctor --self-test',
  };
}

/** How far below the largest logit a chosen token lies at most, as a share of the range of its row. */
function largestMiss(tokens: readonly number[], from: number, logits: Float32Array): number {
  const width = logits.length / tokens.length;
  let largest = 0;
  for (let at = from; at < tokens.length; at++) {
    const row = logits.subarray((at - 1) * width, at * width);
    const most = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
    const least = row.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
    largest = Math.max(largest, (most - row[tokens[at]!]!) / (most - least));
  }
  return largest;
}

async function main([backend = '', ...flags]: readonly string[]): Promise<void> {
  try {
    say({ verdict: await test(backend, flags.includes('--software')) });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const fix = isUnicornError(error) ? error.fix : undefined;
    say({ verdict: { passed: false, reason: `The self-test failed: ${reason}`, ...(fix ? { fix } : {}) } });
  }
}

// A driver's threads and exit handlers have nothing more to say.
void main(process.argv.slice(2)).then(() => process.exit(0));
