/** What can go wrong while a template is read or rendered; `chat-template.ts` turns these into errors with codes. */

/** The source is not a template. */
export class SyntaxFailure extends Error {
  override readonly name = 'SyntaxFailure';
}

/** A step that Jinja2 refuses as well: a wrong type, an undefined value, a key that cannot be hashed. */
export class RenderFailure extends Error {
  override readonly name = 'RenderFailure';
}

/** A thing that Jinja2 can do and this interpreter cannot. It is refused by name, so that no prompt differs silently. */
export class NotSupported extends RenderFailure {
  constructor(what: string) {
    super(`${what} is not supported in chat templates`);
  }
}

/** What `raise_exception` of a template throws: the template's own words about the conversation. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
}

/** The render took more work than it may; see `work.ts`. */
export class WorkExceeded extends Error {
  override readonly name = 'WorkExceeded';
}
