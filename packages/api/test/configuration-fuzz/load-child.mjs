// Loads each model that it is told of and asks it for a token; answers with what became of it.
import { Engine } from '../../dist/index.js';

async function outcomeOf(model) {
  let engine;
  try {
    engine = await Engine.load({ model, backend: 'cpu', threads: 1 });
    for await (const { finishReason } of engine.generate({
      tokens: [1, 2, 3],
      maxTokens: 1,
      sampling: { temperature: 0 },
    })) {
      if (finishReason) return 'answered';
    }
    return 'no end';
  } catch (error) {
    return error?.name === 'UnicornError' ? error.code : `${error?.stack ?? error}`;
  } finally {
    await engine?.close();
  }
}

process.on('message', async ({ model }) => {
  const began = performance.now();
  const outcome = await outcomeOf(model);
  process.send({ outcome, milliseconds: performance.now() - began, rss: process.memoryUsage.rss() });
});
process.send('ready');
