/**
 * A tensor in host memory: what the reference evaluator computes on. Rows may lie apart (a column view of a weight);
 * everything else is dense and row-major.
 */
import { rowBytes, tensorBytes, type DType } from './dtype.js';
import { UnicornError } from './error.js';
import { decodeRow } from './format/index.js';
import { elementCount } from './shape.js';

export class HostTensor {
  readonly rows: number;
  readonly columns: number;

  /**
   * @param bytes storage; element [0, 0] begins at `byteOffset`
   * @param rowStrideBytes distance of two rows, at least the bytes of one
   * @throws UnicornError `usage/buffer-size` when the storage is too small
   */
  constructor(
    readonly dtype: DType,
    readonly shape: readonly number[],
    readonly bytes: Uint8Array,
    readonly byteOffset = 0,
    readonly rowStrideBytes = rowBytes(dtype, shape.at(-1) ?? 1),
  ) {
    this.columns = shape.at(-1) ?? 1;
    this.rows = elementCount(shape.slice(0, -1));
    const needed =
      this.rows === 0 ? 0 : byteOffset + (this.rows - 1) * rowStrideBytes + rowBytes(dtype, this.columns);
    if (bytes.byteLength < needed) {
      throw new UnicornError(
        'usage/buffer-size',
        `A ${dtype} tensor [${shape.join(', ')}] needs ${needed} bytes; the buffer has ${bytes.byteLength}.`,
        { fields: { dtype, shape: [...shape], needed, byteLength: bytes.byteLength } },
      );
    }
  }

  static zeros(dtype: DType, shape: readonly number[]): HostTensor {
    return new HostTensor(dtype, shape, new Uint8Array(tensorBytes(dtype, shape)));
  }

  static f32(shape: readonly number[], values: ArrayLike<number>): HostTensor {
    return HostTensor.#from('f32', shape, Float32Array.from(values));
  }

  static i32(shape: readonly number[], values: ArrayLike<number>): HostTensor {
    return HostTensor.#from('i32', shape, Int32Array.from(values));
  }

  static #from(dtype: DType, shape: readonly number[], data: Float32Array | Int32Array): HostTensor {
    return new HostTensor(dtype, shape, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }

  get elements(): number {
    return this.rows * this.columns;
  }

  /** The dense f32 elements, sharing storage. @throws UnicornError `internal/invariant` for any other dtype or strided rows. */
  get floats(): Float32Array {
    this.#expectDense('f32');
    return new Float32Array(this.bytes.buffer, this.bytes.byteOffset + this.byteOffset, this.elements);
  }

  /** The dense i32 elements, sharing storage. @throws UnicornError `internal/invariant` for any other dtype or strided rows. */
  get integers(): Int32Array {
    this.#expectDense('i32');
    return new Int32Array(this.bytes.buffer, this.bytes.byteOffset + this.byteOffset, this.elements);
  }

  /** The bytes of all elements, rows back to back: a view where they lie so, else a copy. */
  denseBytes(): Uint8Array {
    const row = rowBytes(this.dtype, this.columns);
    if (this.#isDense) return this.bytes.subarray(this.byteOffset, this.byteOffset + this.rows * row);
    const out = new Uint8Array(this.rows * row);
    for (let i = 0; i < this.rows; i++) {
      const at = this.byteOffset + i * this.rowStrideBytes;
      out.set(this.bytes.subarray(at, at + row), i * row);
    }
    return out;
  }

  /** Decodes row `index` (all leading axes flattened) of any dtype to f32. */
  decodeRow(index: number, out: Float32Array, outOffset = 0): void {
    decodeRow(
      this.dtype,
      this.bytes,
      this.byteOffset + index * this.rowStrideBytes,
      this.columns,
      out,
      outOffset,
    );
  }

  /** All elements as f32, a copy. */
  toFloats(): Float32Array {
    const out = new Float32Array(this.elements);
    for (let row = 0; row < this.rows; row++) this.decodeRow(row, out, row * this.columns);
    return out;
  }

  get #isDense(): boolean {
    return this.rows <= 1 || this.rowStrideBytes === rowBytes(this.dtype, this.columns);
  }

  #expectDense(dtype: DType): void {
    if (this.dtype !== dtype || !this.#isDense) {
      throw new UnicornError('internal/invariant', `Expected a dense ${dtype} tensor, not ${this.dtype}.`);
    }
  }
}
