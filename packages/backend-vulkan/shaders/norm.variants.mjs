/** Row-wise statistics: one blob, what it does is a specialization constant. */
export default [{ name: 'norm', source: 'norm.comp' }];
