/** Row-wise statistics: one blob, whose operation a specialization constant chooses. */
export default [{ name: 'norm', source: 'norm.comp' }];
