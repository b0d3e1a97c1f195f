/**
 * Tiles that were found by measuring, as data: which product of which form takes which fields instead of the default
 * rule's. Nothing here measures (`tune.ts`) or reads files (`tuning-file.ts`).
 *
 * Batch invariance holds by how a tuning is made up. The number of lanes that share a row of a weight decides in which order
 * its products are summed, so it has a table of its own, whose keys know columns and no rows of activations; the tables of
 * everything else cannot say it. Which form computes a product is never tuned.
 */
import { dtypes, type DType } from '@unicorn-exec/tensor';
import type { LaneTile } from '../kernel/lane-tile.js';
import type { MatmulTiler } from '../kernel/tiler.js';
import type { ProductShape } from '../kernel/product-shape.js';
import type { MatrixTile } from '../kernel/matrix-tile.js';
import { laneTileFits, lanesFit, matrixTileFits } from '../kernel/tile-limits.js';

export type LaneForm = 'int8' | 'float';
export type ProductForm = LaneForm | 'f16';

/** Fields that change no result, so that each number of rows of activations may have its own. */
export const laneFields = ['workgroup', 'rows', 'depth', 'workgroups'] as const;
export const matrixFields = ['rows', 'tokens', 'depth', 'subgroupRows', 'subgroupTokens'] as const;

export type LaneFields = Partial<Pick<LaneTile, (typeof laneFields)[number]>>;
export type MatrixFields = Partial<Pick<MatrixTile, (typeof matrixFields)[number]>>;

/** A rule for the lanes of products. A field that is not given holds for all. */
export interface LanesRule {
  readonly form: LaneForm;
  readonly dtype?: DType;
  readonly columns?: number;
  readonly lanes: number;
}

/** A rule for the tile of products. A field that is not given holds for all; of several rules the most specific one holds. */
export interface TileRule {
  readonly form: ProductForm;
  readonly dtype?: DType;
  /** Rows of the weight, or of all weights that one dispatch walks. */
  readonly rows?: number;
  readonly columns?: number;
  /** The most rows of activations that the rule is for; fewer may have a rule of their own. The largest holds for more, too. */
  readonly tokens?: number;
  readonly banks?: 1 | 2;
  readonly tile: LaneFields | MatrixFields;
}

export interface Tuning {
  readonly lanes: readonly LanesRule[];
  readonly tiles: readonly TileRule[];
}

export const noTuning: Tuning = { lanes: [], tiles: [] };

const matches = (given: number | string | undefined, actual: number | string): boolean =>
  given === undefined || given === actual;

/** How specific a rule is: the number of fields that it gives of its product. */
const weightOf = (...given: readonly unknown[]): number =>
  given.filter((value) => value !== undefined).length;

export function lanesOf(
  { lanes }: Tuning,
  form: LaneForm,
  { dtype, columns }: ProductShape,
): number | undefined {
  return lanes
    .filter((rule) => rule.form === form && matches(rule.dtype, dtype) && matches(rule.columns, columns))
    .sort((a, b) => weightOf(b.dtype, b.columns) - weightOf(a.dtype, a.columns))[0]?.lanes;
}

export function tileOf({ tiles }: Tuning, form: ProductForm, shape: ProductShape): TileRule | undefined {
  const fitting = tiles.filter(
    (rule) =>
      rule.form === form &&
      matches(rule.dtype, shape.dtype) &&
      matches(rule.rows, shape.rows) &&
      matches(rule.columns, shape.columns) &&
      matches(rule.banks, shape.banks),
  );
  const weight = ({ dtype, rows, columns, banks }: TileRule): number => weightOf(dtype, rows, columns, banks);
  const most = Math.max(0, ...fitting.map(weight));
  const limit = ({ tokens = Infinity }: TileRule): number => tokens;
  const best = fitting.filter((rule) => weight(rule) === most).sort((a, b) => limit(a) - limit(b));
  return best.find((rule) => shape.tokens <= limit(rule)) ?? best.at(-1);
}

function pick<T extends object, Field extends keyof T>(from: object, fields: readonly Field[]): Partial<T> {
  return Object.fromEntries(
    fields.flatMap((field) => {
      const value = (from as Partial<T>)[field];
      return value === undefined ? [] : [[field, value]];
    }),
  ) as Partial<T>;
}

/**
 * @param tunings the first that says anything of a product holds
 * @param base for what they do not say; it alone decides which form a product takes
 */
export function tunedTiler(tunings: readonly Tuning[], base: MatmulTiler): MatmulTiler {
  const known = new Map<string, unknown>();
  const remembered = <T>(form: ProductForm, shape: ProductShape, make: () => T): T => {
    const { dtype, rows, columns, tokens, banks } = shape;
    const key = `${form} ${dtype} ${rows} ${columns} ${tokens} ${banks}`;
    if (!known.has(key)) known.set(key, make());
    return known.get(key) as T;
  };
  const ruleOf = (form: ProductForm, shape: ProductShape): TileRule['tile'] => {
    for (const tuning of tunings) {
      const rule = tileOf(tuning, form, shape);
      if (rule) return rule.tile;
    }
    return {};
  };
  const lane =
    (form: LaneForm): MatmulTiler['int8'] =>
    (shape, traits) =>
      remembered(form, shape, () => {
        const wanted = tunings.map((tuning) => lanesOf(tuning, form, shape)).find((lanes) => lanes);
        const rule = base[form](shape, traits);
        const lanes = wanted !== undefined && lanesFit(form, wanted, traits) ? wanted : rule.lanes;
        const fields = pick<LaneTile, keyof LaneFields>(ruleOf(form, shape), laneFields);
        const own = { ...withLanes(rule, lanes), ...fields };
        return laneTileFits(own, shape.banks, traits) ? own : withLanes(rule, lanes);
      });
  return {
    int8: lane('int8'),
    float: lane('float'),
    f16: (shape, traits) =>
      remembered('f16', shape, () => {
        const rule = base.f16(shape, traits);
        if (!rule) return undefined;
        const own = { ...rule, ...pick<MatrixTile, keyof MatrixFields>(ruleOf('f16', shape), matrixFields) };
        return matrixTileFits(own, shape, traits) ? own : rule;
      }),
  };
}

/** A tile with other lanes, which hold whatever becomes of the rest: a workgroup that is too small for them grows. */
export function withLanes(tile: LaneTile, lanes: number): LaneTile {
  return { ...tile, lanes, workgroup: tile.workgroup % lanes === 0 ? tile.workgroup : lanes };
}

/** Rules of `newer` replace those of `older` that are for the very same products. */
export function mergeTunings(older: Tuning, newer: Tuning): Tuning {
  const laneKey = ({ form, dtype, columns }: LanesRule): string => `${form} ${dtype} ${columns}`;
  const tileKey = ({ form, dtype, rows, columns, tokens, banks }: TileRule): string =>
    `${form} ${dtype} ${rows} ${columns} ${tokens} ${banks}`;
  const lanes = new Map([...older.lanes, ...newer.lanes].map((rule) => [laneKey(rule), rule]));
  const tiles = new Map([...older.tiles, ...newer.tiles].map((rule) => [tileKey(rule), rule]));
  return { lanes: [...lanes.values()], tiles: [...tiles.values()] };
}

// ---------------------------------------------------------------- text

/** More rules than any set of models makes: a file with more is not ours. */
const mostRules = 20_000;

/** As JSON values: no limit of workgroups is null there, since JSON has no Infinity. */
export function tuningToJson({ lanes, tiles }: Tuning): unknown {
  return {
    lanes,
    tiles: tiles.map((rule) => ({
      ...rule,
      tile: Object.fromEntries(
        Object.entries(rule.tile).map(([field, value]) => [field, value === Infinity ? null : value]),
      ),
    })),
  };
}

type Json = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) > 0;

const knows = (value: Json, keys: readonly string[]): boolean =>
  Object.keys(value).every((key) => keys.includes(key));

const isOptional = (value: unknown, check: (value: unknown) => boolean): boolean =>
  value === undefined || check(value);

const isDType = (value: unknown): boolean => dtypes.includes(value as DType);

function isLanesRule(value: unknown): value is LanesRule {
  return (
    isObject(value) &&
    knows(value, ['form', 'dtype', 'columns', 'lanes']) &&
    (value.form === 'int8' || value.form === 'float') &&
    isOptional(value.dtype, isDType) &&
    isOptional(value.columns, isCount) &&
    isCount(value.lanes)
  );
}

function readTileRule(value: unknown): TileRule | undefined {
  if (!isObject(value) || !isObject(value.tile)) return undefined;
  const { form, dtype, rows, columns, tokens, banks, tile } = value;
  const isLane = form === 'int8' || form === 'float';
  const fields: readonly string[] = isLane ? laneFields : matrixFields;
  const right =
    (isLane || form === 'f16') &&
    knows(value, ['form', 'dtype', 'rows', 'columns', 'tokens', 'banks', 'tile']) &&
    knows(tile, fields) &&
    isOptional(dtype, isDType) &&
    [rows, columns, tokens].every((each) => isOptional(each, isCount)) &&
    isOptional(banks, (each) => each === 1 || each === 2) &&
    Object.entries(tile).every(([field, each]) => isCount(each) || (field === 'workgroups' && each === null));
  if (!right) return undefined;
  const own = Object.entries(tile).map(([field, each]) => [field, each ?? Infinity]);
  return { ...(value as unknown as TileRule), tile: Object.fromEntries(own) as TileRule['tile'] };
}

/** What {@link tuningToJson} made; undefined for anything else. */
export function tuningFromJson(value: unknown): Tuning | undefined {
  if (!isObject(value) || !Array.isArray(value.lanes) || !Array.isArray(value.tiles)) return undefined;
  if (value.lanes.length + value.tiles.length > mostRules) return undefined;
  const lanes: unknown[] = value.lanes;
  const tiles = value.tiles.map(readTileRule);
  if (!lanes.every(isLanesRule) || !tiles.every((rule) => rule !== undefined)) return undefined;
  return { lanes, tiles };
}
