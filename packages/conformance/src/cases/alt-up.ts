/** altUpPredict, altUpCorrect, altUpInject. */
import { Sketch, type Case } from '../case.js';
import { boundEach, errorAt, type Errors } from '../bound.js';
import { gamma, unit, type BoundContext } from '../tolerance.js';
import type { OpSuite } from './suite.js';

/** x_b + sum over a of c_ba x_a: `streams` products and as many additions; operands' errors by the product rule. */
function predictBound({ inputs }: BoundContext): Errors[] {
  const [streams, coefficients] = [inputs.streams!, inputs.coefficients!];
  const [count, tokens, features] = streams.tensor.shape as [number, number, number];
  const [x, c] = [streams.tensor.floats, coefficients.tensor.floats];
  return [
    boundEach(streams.tensor, (i) => {
      const column = i % features;
      const token = Math.floor(i / features) % tokens;
      const b = Math.floor(i / (features * tokens));
      let carried = errorAt(streams.errors, i);
      let size = Math.abs(x[i]!);
      for (let a = 0; a < count; a++) {
        const at = (a * tokens + token) * features + column;
        const row = (token * count + b) * count + a;
        const [xe, ce] = [errorAt(streams.errors, at), errorAt(coefficients.errors, row)];
        carried += Math.abs(c[row]!) * xe + Math.abs(x[at]!) * ce + xe * ce;
        size += Math.abs(c[row]! * x[at]!);
      }
      return carried + gamma(count + 2) * size;
    }),
  ];
}

/** p_b + (1 + c_b)(v - p_active): the difference may cancel, so its rounding is relative to both terms. */
function correctBound({ inputs, attributes }: BoundContext): Errors[] {
  const [predictions, activated, coefficients] = [
    inputs.predictions!,
    inputs.activated!,
    inputs.coefficients!,
  ];
  const [count, tokens, features] = predictions.tensor.shape as [number, number, number];
  const [p, v, c] = [predictions.tensor.floats, activated.tensor.floats, coefficients.tensor.floats];
  const active = attributes.active as number;
  return [
    boundEach(predictions.tensor, (i) => {
      const at = i % (features * tokens);
      const row = Math.floor(at / features) * count + Math.floor(i / (features * tokens));
      const base = active * tokens * features + at;
      const innovation = Math.abs(v[at]!) + Math.abs(p[base]!);
      const innovationError = errorAt(activated.errors, at) + errorAt(predictions.errors, base);
      const factor = 1 + Math.abs(c[row]!);
      const factorError = errorAt(coefficients.errors, row);
      const carried =
        errorAt(predictions.errors, i) +
        factor * innovationError +
        innovation * factorError +
        factorError * innovationError;
      return carried + gamma(5) * (Math.abs(p[i]!) + factor * innovation);
    }),
  ];
}

function injectBound({ inputs, attributes, outputs }: BoundContext): Errors[] {
  const [streams, value] = [inputs.streams!, inputs.value!];
  const inner = value.tensor.elements;
  const y = outputs[0]!.floats;
  return [
    boundEach(streams.tensor, (i) => {
      const active = Math.floor(i / inner) === attributes.active;
      return (
        errorAt(streams.errors, i) +
        (active ? 0 : errorAt(value.errors, i % inner) + 2 * unit * Math.abs(y[i]!))
      );
    }),
  ];
}

function predictCase(streams: number, rows: number, features: number): Case {
  const name = `altUpPredict ${streams}x${rows}x${features}`;
  return {
    name,
    op: 'altUpPredict',
    rows,
    make(batch) {
      const sketch = new Sketch(name, batch);
      const x = sketch.input('streams', [streams, 'tokens', features]);
      const coefficients = sketch.input('coefficients', ['tokens', streams * streams]);
      sketch.output('y', sketch.builder.altUpPredict(x, coefficients));
      return sketch.problem();
    },
  };
}

function correctCase(streams: number, rows: number, features: number, active: number): Case {
  const name = `altUpCorrect ${streams}x${rows}x${features} active ${active}`;
  return {
    name,
    op: 'altUpCorrect',
    rows,
    make(batch) {
      const sketch = new Sketch(name, batch);
      const predictions = sketch.input('predictions', [streams, 'tokens', features]);
      const activated = sketch.input('activated', ['tokens', features]);
      const coefficients = sketch.input('coefficients', ['tokens', streams]);
      sketch.output('y', sketch.builder.altUpCorrect(predictions, activated, coefficients, active));
      return sketch.problem();
    },
  };
}

function injectCase(streams: number, rows: number, features: number, active: number): Case {
  const name = `altUpInject ${streams}x${rows}x${features} active ${active}`;
  return {
    name,
    op: 'altUpInject',
    rows,
    make(batch) {
      const sketch = new Sketch(name, batch);
      const x = sketch.input('streams', [streams, 'tokens', features]);
      sketch.output('y', sketch.builder.altUpInject(x, sketch.input('value', ['tokens', features]), active));
      return sketch.problem();
    },
  };
}

export const altUpPredictSuite: OpSuite = {
  bound: predictBound,
  cases: () => [predictCase(4, 7, 67), predictCase(1, 1, 1), predictCase(3, 2, 31)],
  benchmarks: () => [predictCase(4, 64, 2048)],
};

export const altUpCorrectSuite: OpSuite = {
  bound: correctBound,
  cases: () => [correctCase(4, 7, 67, 0), correctCase(1, 1, 1, 0), correctCase(3, 5, 31, 2)],
  benchmarks: () => [correctCase(4, 64, 2048, 0)],
};

export const altUpInjectSuite: OpSuite = {
  bound: injectBound,
  cases: () => [injectCase(4, 7, 67, 0), injectCase(2, 1, 1, 1), injectCase(3, 5, 31, 1)],
  benchmarks: () => [injectCase(4, 64, 2048, 0)],
};
