/** The reads ahead of products. */
export default [{ name: 'prefetch', source: 'prefetch.comp' }];
