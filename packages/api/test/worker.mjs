// Loads an engine inside a worker thread and answers one question.
import { parentPort } from 'node:worker_threads';
import { Engine } from '../dist/index.js';

const engine = await Engine.load({ context: 256 });
let text = '';
const messages = [{ role: 'user', content: 'Who are you?' }];
for await (const chunk of engine.generate({ messages, sampling: { temperature: 0 }, maxTokens: 12 }))
  text += chunk.text;
await engine.close();
parentPort.postMessage(text);
