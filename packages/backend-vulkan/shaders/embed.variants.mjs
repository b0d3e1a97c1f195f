/** Rows of a table, by its stored type. */
import { weightTypes } from './include/weight-types.mjs';

export default weightTypes.map((type) => ({
  name: `embed-${type}`,
  source: 'embed.comp',
  defines: { DTYPE: type.toUpperCase() },
}));
