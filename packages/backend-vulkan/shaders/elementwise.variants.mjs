/** One blob: a specialization constant chooses the operation. */
export default [{ name: 'elementwise', source: 'elementwise.comp' }];
