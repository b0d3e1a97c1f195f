/** One blob: what it does is a specialization constant. */
export default [{ name: 'elementwise', source: 'elementwise.comp' }];
