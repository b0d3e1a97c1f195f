/** `unicorn completion`: what makes a shell complete the command, written from the program's own commands and options. */
import type { Command, Option } from 'commander';
import type { Terminal } from '../terminal.js';

export const shells = ['bash', 'zsh', 'fish'] as const;

export function completion(terminal: Terminal, program: Command, shell: (typeof shells)[number]): void {
  const commands = program.commands.filter((command) => command.name() !== 'help');
  terminal.write({ bash, zsh, fish }[shell](commands));
}

const shownOptions = (command: Command): Option[] => [
  ...command.options.filter((option) => !option.hidden),
  command.createOption('-h, --help', 'display help for command'),
];

const flagsOf = ({ short, long }: Option): string[] => [short, long].filter((flag) => flag !== undefined);

/** Whether the value of an option is a file or a directory. */
const takesFile = ({ flags }: Option): boolean => /<(file|model)>/.test(flags);

function bash(commands: readonly Command[]): string {
  const values: string[] = [];
  const flags: string[] = [];
  for (const command of commands) {
    const name = command.name();
    const pattern = (options: readonly Option[]): string =>
      options.flatMap((option) => flagsOf(option).map((flag) => `'${name} ${flag}'`)).join('|');
    const taking = shownOptions(command).filter(({ required }) => required);
    for (const option of taking.filter(({ argChoices }) => argChoices)) {
      const words = option.argChoices!.join(' ');
      values.push(`    ${pattern([option])}) COMPREPLY=($(compgen -W '${words}' -- "$word")); return ;;`);
    }
    const free = taking.filter((option) => !option.argChoices && !takesFile(option));
    if (free.length > 0) values.push(`    ${pattern(free)}) return ;;`);
    const all = shownOptions(command).flatMap(flagsOf).join(' ');
    flags.push(`      ${name}) COMPREPLY=($(compgen -W '${all}' -- "$word")) ;;`);
  }
  const names = [...commands.map((command) => command.name()), 'help'].join(' ');
  const shellNames = shells.join(' ');
  return `# bash completion of unicorn: source <(unicorn completion bash)
_unicorn() {
  local word=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD - 1]} command=\${COMP_WORDS[1]}
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    COMPREPLY=($(compgen -W '${names} --help --version' -- "$word"))
    return
  fi
  case "$command $before" in
    'completion completion') COMPREPLY=($(compgen -W '${shellNames}' -- "$word")); return ;;
    'help help') COMPREPLY=($(compgen -W '${names}' -- "$word")); return ;;
${values.join('\n')}
  esac
  if [[ $word == -* ]]; then
    case $command in
${flags.join('\n')}
    esac
    return
  fi
  compopt -o filenames 2> /dev/null
  COMPREPLY=($(compgen -f -- "$word"))
}
complete -F _unicorn unicorn
`;
}

function zsh(commands: readonly Command[]): string {
  const escaped = (text: string): string =>
    text.replaceAll(/[\\[\]:]/g, String.raw`\$&`).replaceAll("'", "'\\''");
  const described = commands.map((command) => `    '${command.name()}:${escaped(command.description())}'`);
  const cases = commands.map((command) => {
    const specs = shownOptions(command).flatMap((option) => {
      const flags = flagsOf(option);
      const text = escaped(option.description);
      const action = option.argChoices
        ? `(${option.argChoices.join(' ')})`
        : takesFile(option)
          ? '_files'
          : ' ';
      const value = option.required ? `:${escaped(option.attributeName())}:${action}` : '';
      return flags.map((flag) => `      '(${flags.join(' ')})${flag}[${text}]${value}'`);
    });
    const rest = command.name() === 'completion' ? `'1:shell:(${shells.join(' ')})'` : "'*:file:_files'";
    return `    ${command.name()})\n      _arguments -s \\\n${specs.join(' \\\n')} \\\n      ${rest}\n      ;;`;
  });
  return `#compdef unicorn
# zsh completion of unicorn: unicorn completion zsh > "\${fpath[1]}/_unicorn", or source <(unicorn completion zsh)
_unicorn() {
  local -a commands=(
${described.join('\n')}
  )
  if ((CURRENT == 2)); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  ((CURRENT--))
  case $command in
${cases.join('\n')}
  esac
}
if [[ $funcstack[1] == _unicorn ]]; then _unicorn "$@"; else compdef _unicorn unicorn; fi
`;
}

function fish(commands: readonly Command[]): string {
  const quoted = (text: string): string => `'${text.replaceAll(/[\\']/g, String.raw`\$&`)}'`;
  const lines = commands.flatMap((command) => {
    const within = `complete -c unicorn -n '__fish_seen_subcommand_from ${command.name()}'`;
    const options = shownOptions(command).map((option) => {
      const short = option.short?.startsWith('--') === false ? ` -s ${option.short.slice(1)}` : '';
      const long = option.long ? ` -l ${option.long.slice(2)}` : '';
      const choices = option.argChoices ? ` -x -a ${quoted(option.argChoices.join(' '))}` : '';
      const value = choices || (option.required ? (takesFile(option) ? ' -r -F' : ' -x') : '');
      return `${within}${short}${long}${value} -d ${quoted(option.description)}`;
    });
    const first = `complete -c unicorn -n __fish_use_subcommand -f -a ${command.name()} -d ${quoted(command.description())}`;
    return [first, ...options];
  });
  return [
    '# fish completion of unicorn: unicorn completion fish > ~/.config/fish/completions/unicorn.fish',
    ...lines,
    `complete -c unicorn -n '__fish_seen_subcommand_from completion' -f -a '${shells.join(' ')}'`,
    '',
  ].join('\n');
}
