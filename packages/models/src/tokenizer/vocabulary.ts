/** The table of tokens: id to spelling and back. It knows nothing of merges or of how spelling becomes text. */
import { UnicornError } from '@unicorn-exec/tensor';

/**
 * No published vocabulary has more than 2^18 + a few ids (Gemma); sixteen times that is refused before it is allocated,
 * so that one hostile id cannot ask for gigabytes.
 */
const maxVocabSize = 2 ** 22;

export class Vocabulary {
  /** Spelling by id; a hole is an id that no token has. */
  readonly #pieces: (string | undefined)[] = [];
  /** Ids that ordinary text can become; an added token's spelling is looked for before, and is not among them. */
  readonly #ordinary = new Map<string, number>();
  readonly #added = new Map<string, number>();

  /** One more than the largest id. */
  get size(): number {
    return this.#pieces.length;
  }

  /** A token that merging may make. @throws UnicornError `format/tokenizer` when the id is not an integer in [0, 2^22) */
  set(id: number, piece: string): void {
    this.#place(id, piece);
    this.#ordinary.set(piece, id);
  }

  /** A token that only its whole spelling stands for. @throws as {@link set} */
  setAdded(id: number, piece: string): void {
    this.#place(id, piece);
    this.#added.set(piece, id);
  }

  idOf(piece: string): number | undefined {
    return this.#added.get(piece) ?? this.#ordinary.get(piece);
  }

  ordinaryIdOf(piece: string): number | undefined {
    return this.#ordinary.get(piece);
  }

  /** The spelling, '' for a hole. @throws UnicornError `usage/token-id` */
  pieceOf(id: number): string {
    if (!Number.isInteger(id) || id < 0 || id >= this.#pieces.length) {
      throw new UnicornError(
        'usage/token-id',
        `${id} is not a token id of this model (0 to ${this.size - 1}).`,
        {
          fields: { id, vocabSize: this.size },
        },
      );
    }
    return this.#pieces[id] ?? '';
  }

  #place(id: number, piece: string): void {
    if (!Number.isInteger(id) || id < 0 || id >= maxVocabSize) {
      throw new UnicornError(
        'format/tokenizer',
        `The token ${JSON.stringify(piece)} has the impossible id ${id}.`,
        {
          fields: { piece, id, limit: maxVocabSize },
        },
      );
    }
    while (this.#pieces.length < id) this.#pieces.push(undefined);
    this.#pieces[id] = piece;
  }
}
