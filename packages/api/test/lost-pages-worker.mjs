// Loads an engine inside a worker thread, cuts its model's file short while it answers, and tells what becomes of the answer.
import { truncateSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { Engine } from '../dist/index.js';

const engine = await Engine.load({ model: workerData, context: 128 });
let outcome = 'answered';
try {
  const request = { prompt: 'Once upon a time', ignoreEnd: true, maxTokens: 24 };
  for await (const chunk of engine.generate(request))
    if (chunk.tokens.length > 0) truncateSync(workerData, 4096);
} catch (error) {
  outcome = error.code;
}
await engine.close();
parentPort.postMessage(outcome);
