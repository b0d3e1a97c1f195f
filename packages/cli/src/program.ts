/** The commands with their flags and help; the work itself lies in `command/`, imported on demand. */
import { readFileSync } from 'node:fs';
import { tunableBackends } from '@unicorn-exec/api/backends';
import { Argument, Command, Option } from 'commander';
import {
  keyValue,
  numberList,
  positiveInteger,
  withDraftFlag,
  withEngineFlags,
  withModelFlags,
  withSamplingFlags,
} from './option.js';
import type { Terminal } from './terminal.js';

function packageVersion(): string {
  const manifest = new URL('../package.json', import.meta.url);
  return (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version;
}

function example(...lines: string[]): string {
  return `\nExamples:\n${lines.map((line) => `  $ ${line}`).join('\n')}\n`;
}

/** An option of {@link numberList}. */
const numbersOption = (flags: string, description: string, usual: number): Option =>
  new Option(flags, description).argParser(numberList(0)).default([usual], String(usual));

export function createProgram(terminal: Terminal): Command {
  const program = new Command('unicorn')
    .description('Runs Gemma 3n and Llama-like language models on this machine.')
    .version(packageVersion())
    .exitOverride()
    .configureOutput({
      writeOut: (text) => terminal.stdout.write(text),
      writeErr: (text) => terminal.stderr.write(text),
      // `main` prints every error in one way.
      outputError: () => {},
    })
    .addHelpText(
      'after',
      `\nOptions also come from UNICORN_* variables and a configuration file: see\n\`unicorn config\`.\n${example(
        'unicorn run "Tell me a story about a fox."',
        'unicorn chat',
        'unicorn doctor',
      )}`,
    );

  withDraftFlag(withSamplingFlags(withEngineFlags(program.command('run'))))
    .description('Answer one prompt, streamed.')
    .argument('[prompt]', 'the prompt; standard input is appended to it, or is it')
    .option('-p, --prompt <text>', 'the prompt, as an option')
    .option('-f, --file <file>', 'a file with the prompt, or with what follows it')
    .option('-v, --verbose', 'print speeds after the answer')
    .option('--stream', 'with --json: each piece as a line of JSON as it comes, then the document as a line')
    .option(
      '--context-shift',
      'when the context is full, forget the oldest tokens and go on (default: the answer ends)',
    )
    .option('--raw', 'give the prompt to the model as it is, without its chat template')
    .option('--system <text>', 'a system message before the prompt (default: none)')
    .addHelpText(
      'after',
      example(
        'unicorn run "Why is the sky blue?"',
        'cat notes.txt | unicorn run "Summarize these notes:" -m model.gguf',
        'unicorn run --raw --temperature 0 -n 16 "The capital of France is"',
      ),
    )
    .action(async (prompt, flags) => (await import('./command/run.js')).run(terminal, prompt, flags));

  withDraftFlag(withSamplingFlags(withEngineFlags(program.command('chat'))))
    .description('Talk with a model. Ctrl-C stops the answer, /help lists the commands.')
    .option('--system <text>', 'a system message (default: none)')
    .addOption(new Option('--context-shift').hideHelp())
    .option(
      '--no-context-shift',
      'refuse a message when the context is full, instead of forgetting the oldest ones',
    )
    .option('--no-history', 'neither read nor keep what was typed in earlier conversations')
    .addHelpText(
      'after',
      example('unicorn chat', 'unicorn chat -m SmolLM2-135M-Instruct.Q4_1.gguf --temperature 0.5'),
    )
    .action(async (flags) => (await import('./command/chat.js')).chat(terminal, flags));

  withDraftFlag(withEngineFlags(program.command('bench'), numberList(1)))
    .description('Measure prefill and decode speed. Flags with <n,...> take lists and ranges.')
    .addOption(numbersOption('-p, --prompt <n,...>', 'tokens of prefill', 512))
    .addOption(numbersOption('-n, --generate <n,...>', 'tokens of decode', 128))
    .addOption(numbersOption('-d, --depth <n,...>', 'tokens of context in front of each test', 0))
    .option('-r, --repetitions <n>', 'measured runs after one warm-up', positiveInteger, 5)
    .addOption(
      new Option('-o, --output <format>', 'a table, or a record for each test')
        .choices(['md', 'csv', 'jsonl'])
        .default('md'),
    )
    .option(
      '--compare <file>',
      'an earlier result (--json) of the same model to compare with (default: none)',
    )
    .option('--kernels', 'where the time goes, step by step, against the bandwidth of the device')
    .option('--tune', 'try tiles for the model on the GPU, and keep the best for later')
    .option('--tune-seconds <n>', 'how long to try at most; Ctrl-C keeps what was found', positiveInteger, 60)
    .option(
      '--machine',
      'measure the machine alone: read bandwidth, and the rates of its devices, which are kept',
    )
    .addHelpText(
      'after',
      example(
        'unicorn bench -m model.gguf -p 512 -n 128 -r 5 -t 2',
        'unicorn bench -m model.gguf -p 128-2048*2 -n 32,128 -d 0,4096 -t 1-4',
        'unicorn bench -m model.gguf --json > before.json',
        'unicorn bench -m model.gguf --compare before.json',
        `unicorn bench -m model.gguf --kernels --backend ${tunableBackends[0]}`,
        `unicorn bench -m model.gguf --tune --backend ${tunableBackends[0]}`,
        'unicorn bench --machine',
      ),
    )
    .action(async (flags) => (await import('./command/bench.js')).bench(terminal, flags));

  withEngineFlags(program.command('perplexity'))
    .description('Score a text: the lower, the better the model predicts it.')
    .argument('<file>', 'a text file')
    .option('--against <model>', 'also the KL divergence from this model')
    .addHelpText('after', example('unicorn perplexity text.txt -m small.gguf --against large.gguf'))
    .action(async (file, flags) =>
      (await import('./command/perplexity.js')).perplexity(terminal, file, flags),
    );

  withEngineFlags(program.command('eval'))
    .description('Token ids in, logits out, as safetensors: for checking against a reference.')
    .requiredOption('--tokens <file>', 'a JSON array of ids, or of such arrays (one ragged batch)')
    .requiredOption('-o, --output <file>', 'the safetensors file to write')
    .option('--layers', 'also the hidden states: hidden.0 is the embedding, hidden.L the output of layer L')
    .option('--fast', "the device's own precision instead of float32")
    .addHelpText('after', example('unicorn eval -m model.gguf --tokens ids.json --layers -o out.safetensors'))
    .action(async (flags) => (await import('./command/eval.js')).evaluate(terminal, flags));

  withModelFlags(program.command('tokenize'))
    .description('Text to token ids. No ids are added.')
    .argument('[text]', 'the text (default: standard input, byte for byte)')
    .option('--special', 'recognize the text of special tokens')
    .option('--jsonl', 'one JSON string per input line, one JSON result per output line')
    .addHelpText(
      'after',
      example('unicorn tokenize "Hello, world!"', 'unicorn tokenize --special --json "<bos>Hi"'),
    )
    .action(async (text, flags) => (await import('./command/tokenize.js')).tokenize(terminal, text, flags));

  withModelFlags(program.command('detokenize'))
    .description('Token ids to text.')
    .addArgument(new Argument('[ids...]', 'the ids, separated by spaces or commas (default: standard input)'))
    .option('--jsonl', 'one JSON array of ids per input line, one JSON result per output line')
    .addHelpText(
      'after',
      example('unicorn detokenize 504 3575 282', 'echo "[504, 3575]" | unicorn detokenize --json'),
    )
    .action(async (ids, flags) => (await import('./command/tokenize.js')).detokenize(terminal, ids, flags));

  withModelFlags(program.command('template'))
    .description("A conversation through the model's chat template.")
    .argument(
      '[conversation]',
      'a JSON file: messages, or {messages, tools?, options?} (default: standard input)',
    )
    .option('--tools <file>', 'a JSON file of tools')
    .option('--option <key=value>', 'a variable of the template, repeatable', keyValue)
    .option('--jsonl', 'one conversation per input line, one JSON result per output line')
    .addHelpText('after', example('unicorn template chat.json --option add_generation_prompt=false'))
    .action(async (file, flags) => (await import('./command/template.js')).template(terminal, file, flags));

  withModelFlags(program.command('show'))
    .description('Describe a model, or any .gguf or .safetensors file.')
    .argument('[path]', 'the file or directory (default: the model)')
    .option('--tensors', 'list the tensors')
    .option('--vocabulary', 'with --json, also the long lists: tokens, scores, merges')
    .addHelpText(
      'after',
      example('unicorn show', 'unicorn show model.gguf --tensors', 'unicorn show --json weights.safetensors'),
    )
    .action(async (path, flags) => (await import('./command/show.js')).show(terminal, path, flags));

  program
    .command('doctor')
    .description('Devices, what they lack, and the fix for it.')
    .option('--build', 'compile the native kernels on this machine')
    .option('--self-test', 'test the GPU anew, for the backend auto')
    .option('--json', 'print JSON on stdout')
    .addHelpText('after', example('unicorn doctor', 'unicorn doctor --build', 'unicorn doctor --self-test'))
    .action(async (flags) => (await import('./command/doctor.js')).doctor(terminal, flags));

  program
    .command('config')
    .description('The options that hold without flags, and where each comes from.')
    .option('--json', 'print JSON on stdout')
    .addHelpText('after', example('unicorn config', 'UNICORN_TEMPERATURE=0 unicorn config'))
    .action(async (flags) => (await import('./command/config.js')).config(terminal, program, flags));

  program
    .command('completion')
    .description('What makes a shell complete the command.')
    .addArgument(new Argument('<shell>', 'the shell').choices(['bash', 'zsh', 'fish']))
    .addHelpText(
      'after',
      example(
        'source <(unicorn completion bash)   # or zsh, in ~/.bashrc or ~/.zshrc',
        'unicorn completion fish > ~/.config/fish/completions/unicorn.fish',
      ),
    )
    .action(async (shell) => (await import('./command/completion.js')).completion(terminal, program, shell));

  program.hook('preAction', async (_program, command) => {
    if (['config', 'completion'].includes(command.name())) return;
    const { applyConfiguration, readConfiguration } = await import('./configuration.js');
    applyConfiguration(command, await readConfiguration(program));
  });

  for (const command of program.commands) command.exitOverride().copyInheritedSettings(program);
  return program;
}
