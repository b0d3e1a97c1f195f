/** add and multiply. */
export default [{ name: 'broadcast', source: 'broadcast.comp' }];
