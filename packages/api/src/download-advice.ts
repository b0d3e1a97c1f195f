/** Where a model is named as hubs and other tools name theirs: how its files come to this machine. */

/** A name as hubs and other tools have them: `org/name`, with a quantization or tag, after `hf:` or as an address. */
export interface HubName {
  /** `org/name`; absent where the name is not of Hugging Face. */
  readonly repository?: string;
  /** The quantization behind the colon. */
  readonly quantization?: string;
  /** An address of a file. */
  readonly url?: string;
}

/** Undefined for what can only be a path. */
export function hubName(name: string): HubName | undefined {
  const page =
    /^(?:https?:\/\/)?(?:huggingface\.co|hf\.co)\/(\w[\w.-]*\/\w[\w.-]*)(?::([\w.-]+)|\/tree\/.*|\/)?$/.exec(
      name,
    );
  const match = page ?? /^(?:hf:)?(\w[\w.-]*\/\w[\w.-]*)(?::([\w.-]+))?$/.exec(name);
  if (match) {
    const [, repository, quantization] = match;
    return { repository: repository!, ...(quantization === undefined ? {} : { quantization }) };
  }
  if (/^https?:\/\/[^\s'"]+$/.test(name)) return { url: name.replace('/blob/', '/resolve/') };
  return /^(?:hf:.*|[\w.-]+:[\w.-]+)$/.test(name) ? {} : undefined;
}

/**
 * What to type for the files of a model. The tool is `hf`, of the package huggingface_hub on PyPI.
 *
 * @param name as somebody typed it; without one, or where it tells too little, the advice has words in its place
 */
export function downloadAdvice(name = ''): string {
  const { repository = 'USER/REPO', quantization, url } = hubName(name) ?? {};
  if (url !== undefined)
    return `Download it yourself, for example with \`curl -fLO '${url}'\`, and give its path.`;
  const folder = repository.split('/')[1]!;
  const files = quantization === undefined ? '' : ` --include '*${quantization}*'`;
  return (
    `Download it yourself, for example with \`hf download ${repository}${files} --local-dir ${folder}\` ` +
    `(\`pip install huggingface_hub\` brings it), and give the path of the directory, or of a .gguf file in it.`
  );
}
